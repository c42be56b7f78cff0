"""Objectives: the loss of each token, composed by `chain`.

An objective is a function

    (tokens, token_loss, coefficient, key) -> token_loss

It reads the tokens of a mini-batch (types.ScoredTokens). token_loss
(types.TokenLoss) holds the losses f32[B, T] of the members before it: their
terms and, apart from these, their penalties. The objective adds a loss to
token_loss, or changes the terms. `coefficient` f32[] is the number that a
controller sets (control/), and `key` is for random draws.

Each factory below builds an objective from its hyperparameters. It raises
ValueError if one of them lies outside the range that its `Args:` give. There
are four kinds of objectives:

    surrogate   adds the policy gradient, the first term   ppo_clip, gspo, ...
    transform   reweights the terms of earlier members     steer, erc, ...
    term        adds a term, which later transforms        entropic, dcpo
                reweight
    penalty     adds a penalty, which no transform         reference_kl, ...
                reweights

A chain has exactly one surrogate. The surrogates bcpg and kl_cov add a penalty
as well, and the term dcpo also scales the terms before it. `policy_loss` runs a
chain and reduces its losses to one number with an aggregation (aggregation.py).

Every file uses the same symbols, f32[B, T] for B responses of T tokens:

    log pi, log pi_old   log-probs of the sampled tokens in nats, under the
                         current policy and under the sampling policy
    r                    pi / pi_old
    A                    the advantage
    H, H_old             the exact entropy in nats, over the whole vocabulary,
                         of the same two policies
    L                    the loss of a token, to be minimised; L <- ... changes
                         the terms that earlier members have added

An objective may also read other statistics of a token's distribution, such as
its varentropy or the entropy of its top-p set (entropy/statistics.py). It
declares them with `reading` (reading.py), and an update computes only those
that a member of its chain has declared.

The decorator of a method declares what checks of a config must know about it:
its kind, whether it reads `coefficient`, whether it compares the policy with
the one that sampled, ... (traits.py). To add a method, write
`objectives/my_bonus.py`, import it below, and add a row to OBJECTIVES in
tests/helpers/objective_cases.py:

    @ObjectiveTraits(kind="penalty")
    def my_bonus(*, strength: float = 0.1) -> Objective:
      return lambda tokens, token_loss, coefficient, key: add_penalty(
        token_loss, -strength * tokens.entropy, tokens.mask, {})

The last argument of `add_penalty` holds metrics by name; here there are none.
The settings of the method are config.my_bonus, with the defaults of its
arguments.
"""

from entrojax.objectives.adaptive_entropy import adaptive_entropy
from entrojax.objectives.bapo import bapo
from entrojax.objectives.bcpg import bcpg
from entrojax.objectives.ce_gppo import ce_gppo
from entrojax.objectives.chain import chain
from entrojax.objectives.cispo import cispo
from entrojax.objectives.cov import clip_cov, kl_cov
from entrojax.objectives.dcpo import dcpo
from entrojax.objectives.dppo import dppo
from entrojax.objectives.dynamic_clip import dynamic_clip, oscillating_clip
from entrojax.objectives.entropic import entropic
from entrojax.objectives.entropy_advantage import entropy_advantage
from entrojax.objectives.entropy_bonus import entropy_bonus
from entrojax.objectives.erc import erc
from entrojax.objectives.gmpo import gmpo
from entrojax.objectives.gspo import gspo, luspo
from entrojax.objectives.loss import policy_loss
from entrojax.objectives.lp_reg import lp_reg
from entrojax.objectives.negative_sample_augmentation import (
  negative_sample_augmentation,
)
from entrojax.objectives.off_policy_mask import off_policy_mask
from entrojax.objectives.positive_reweighting import positive_reweighting
from entrojax.objectives.ppo import ppo_clip
from entrojax.objectives.reference_kl import reference_kl
from entrojax.objectives.reinforce import reinforce
from entrojax.objectives.sapo import sapo
from entrojax.objectives.sent import sent, sent_released
from entrojax.objectives.simko import simko
from entrojax.objectives.siren import siren
from entrojax.objectives.stare import adaptive_stare, stare
from entrojax.objectives.steer import steer
from entrojax.objectives.top_entropy import top_entropy
from entrojax.objectives.vespo import vespo
