"""Objectives: the loss of each token, composed by `chain`.

An objective is a function

    (tokens, token_loss, coefficient, key) -> token_loss

It reads the tokens of a mini-batch (types.ScoredTokens) and adds a loss f32[B,
T] to token_loss, or changes the losses that are there. `coefficient` f32[] is
the number that a controller sets (control/), and `key` is for random draws.

Each factory below builds an objective from its hyperparameters. It raises
ValueError if one of them lies outside the range that its `Args:` give. An
objective adds or changes one of these:

    surrogate   begins a chain: the policy gradient        ppo_clip, gspo, ...
    transform   reweights the terms of earlier members     steer, erc, ...
    term        adds a loss that later transforms weigh    entropic
    penalty     adds a loss that no transform weighs       reference_kl, ...

The surrogates bcpg and kl_cov add a penalty as well. A chain has exactly one
surrogate. `policy_loss` runs a chain and reduces its losses to one number with
an aggregation (aggregation.py).

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

To add a method, write `objectives/my_bonus.py`, import it below, list it in
__all__, give it a section in configs/default.py, and add a row to OBJECTIVES in
tests/helpers/objective_cases.py:

    def my_bonus(*, strength: float) -> Objective:
      return lambda tokens, token_loss, coefficient, key: add_penalty(
        token_loss, -strength * tokens.entropy, tokens.mask, {})

If it reads `coefficient`, name it and its controllers in _DRIVEN of
assembly/check_methods.py.
"""

from entrojax.objectives.adaptive_entropy import adaptive_entropy
from entrojax.objectives.bcpg import bcpg
from entrojax.objectives.ce_gppo import ce_gppo
from entrojax.objectives.chain import chain
from entrojax.objectives.cispo import cispo
from entrojax.objectives.cov import clip_cov, kl_cov
from entrojax.objectives.entropic import entropic
from entrojax.objectives.entropy_advantage import entropy_advantage
from entrojax.objectives.entropy_bonus import entropy_bonus
from entrojax.objectives.erc import erc
from entrojax.objectives.gspo import gspo
from entrojax.objectives.loss import policy_loss
from entrojax.objectives.negative_sample_augmentation import (
  negative_sample_augmentation,
)
from entrojax.objectives.positive_reweighting import positive_reweighting
from entrojax.objectives.ppo import ppo_clip
from entrojax.objectives.reference_kl import reference_kl
from entrojax.objectives.reinforce import reinforce
from entrojax.objectives.sent import sent, sent_released
from entrojax.objectives.siren import siren
from entrojax.objectives.stare import adaptive_stare, stare
from entrojax.objectives.steer import steer
from entrojax.objectives.top_entropy import top_entropy

__all__ = [
  "adaptive_entropy",
  "adaptive_stare",
  "bcpg",
  "ce_gppo",
  "chain",
  "cispo",
  "clip_cov",
  "entropic",
  "entropy_advantage",
  "entropy_bonus",
  "erc",
  "gspo",
  "kl_cov",
  "negative_sample_augmentation",
  "policy_loss",
  "positive_reweighting",
  "ppo_clip",
  "reference_kl",
  "reinforce",
  "sent",
  "sent_released",
  "siren",
  "stare",
  "steer",
  "top_entropy",
]
