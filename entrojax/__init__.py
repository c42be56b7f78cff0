"""Entropy control for reinforcement learning of language models, in JAX.

Importing entrojax gives the library: objectives, advantage rules, aggregations,
controllers, the entropy projection of optimizer steps, and measures of entropy
(of tokens, of the meanings of answers, and the law between entropy and reward).
Its functions take arrays and the small dataclasses of types.py; clustering
takes texts. None of them needs the models or the trainer of this package.

    loss, metrics = entrojax.policy_loss(objective, aggregate, tokens)

The trainer is built from the same functions, and trains with your own:

    entrojax.train(config, workdir, task=(reward, problems), objective=mine())

It is imported when it is first used. Its folders and modules, called
rooms, form layers: a room imports only rooms that stand before it in this list.

    types, arguments           the types; checks of hyperparameters
    masking, metrics           masked reductions; metrics as sums and counts
    system, answers, control   devices and files; answers; controllers
    entropy, models, tasks     token entropies; decoders; problems, verifiers
    objectives, advantages     losses; rules from rewards to advantages
    data, reporting            prompts and tokenizers; logs and figures
    judges, update             judges of steps; the optimizer step
    rollouts, evaluate         sampled responses; pass@k
    assembly                   from a config to the parts of a run
    rollout_step, train        one rollout step; the loop over them

The other modules are commands, which may import any room: python -m
entrojax.main, entrojax.sft, entrojax.evaluate_model, ...
"""

import importlib
from typing import TYPE_CHECKING

from entrojax.advantages import (
  apply_rules,
  dr_grpo,
  entrocraft,
  grpo,
  grpo_dropout,
  nsr,
  overlong_filter,
  overlong_penalty,
  psr,
  rloo,
  seed_grpo,
  unlikeliness,
  uplift_rate,
  w_reinforce,
)
from entrojax.answers.clusters import cluster, entailment_equivalence
from entrojax.control import (
  adaptive_coefficient,
  entropic_pi,
  entropy_guided,
  epoch_schedule,
  no_control,
  stage_schedule,
  stare_weights,
)
from entrojax.entropy.covariance import (
  covariance_by_quadrant,
  predicted_entropy_change,
  share_by_quadrant,
  token_covariance,
)
from entrojax.entropy.law import (
  confidence,
  fit_entropy_law,
  forecast,
  predict,
  predict_with_error,
  sensitivity,
)
from entrojax.entropy.semantic import modulation, semantic_entropy
from entrojax.entropy.token_stats import log_prob_and_entropy
from entrojax.objectives import (
  adaptive_entropy,
  adaptive_stare,
  bcpg,
  ce_gppo,
  chain,
  cispo,
  clip_cov,
  entropic,
  entropy_advantage,
  entropy_bonus,
  erc,
  gspo,
  kl_cov,
  negative_sample_augmentation,
  policy_loss,
  positive_reweighting,
  ppo_clip,
  reference_kl,
  reinforce,
  sent,
  sent_released,
  siren,
  stare,
  steer,
  top_entropy,
)
from entrojax.objectives.aggregation import (
  seq_mean_token_mean,
  seq_mean_token_sum,
  seq_mean_token_sum_norm,
  token_mean,
)
from entrojax.types import (
  AdvantageRule,
  Controller,
  Mean,
  Objective,
  Responses,
  ScoredTokens,
  TokenLoss,
)
from entrojax.update.projection import (
  adam_preconditioner,
  entropy_projection,
  identity_preconditioner,
)

if TYPE_CHECKING:
  from entrojax.train import train

__all__ = [
  "AdvantageRule",
  "Controller",
  "Mean",
  "Objective",
  "Responses",
  "ScoredTokens",
  "TokenLoss",
  "adam_preconditioner",
  "adaptive_coefficient",
  "adaptive_entropy",
  "adaptive_stare",
  "apply_rules",
  "bcpg",
  "ce_gppo",
  "chain",
  "cispo",
  "clip_cov",
  "cluster",
  "confidence",
  "covariance_by_quadrant",
  "dr_grpo",
  "entailment_equivalence",
  "entrocraft",
  "entropic",
  "entropic_pi",
  "entropy_advantage",
  "entropy_bonus",
  "entropy_guided",
  "entropy_projection",
  "epoch_schedule",
  "erc",
  "fit_entropy_law",
  "forecast",
  "grpo",
  "grpo_dropout",
  "gspo",
  "identity_preconditioner",
  "kl_cov",
  "log_prob_and_entropy",
  "modulation",
  "negative_sample_augmentation",
  "no_control",
  "nsr",
  "overlong_filter",
  "overlong_penalty",
  "policy_loss",
  "positive_reweighting",
  "ppo_clip",
  "predict",
  "predict_with_error",
  "predicted_entropy_change",
  "psr",
  "reference_kl",
  "reinforce",
  "rloo",
  "seed_grpo",
  "semantic_entropy",
  "sensitivity",
  "sent",
  "sent_released",
  "seq_mean_token_mean",
  "seq_mean_token_sum",
  "seq_mean_token_sum_norm",
  "share_by_quadrant",
  "siren",
  "stage_schedule",
  "stare",
  "stare_weights",
  "steer",
  "token_covariance",
  "token_mean",
  "top_entropy",
  "train",
  "unlikeliness",
  "uplift_rate",
  "w_reinforce",
]


def __getattr__(name: str):
  """Import the trainer when it is first used: it takes seconds."""
  if name == "train":
    return importlib.import_module("entrojax.train")
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
