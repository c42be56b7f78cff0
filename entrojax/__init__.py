"""Entropy control for LLM reinforcement learning, in JAX.

The library face: objectives, advantage rules, aggregations and controllers as
functions of plain arrays, usable without this package's model or trainer.

    loss, metrics = entrojax.policy_loss(objective, aggregate, tokens)
"""

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
  unlikeliness,
  uplift_rate,
  w_reinforce,
)
from entrojax.aggregation import (
  seq_mean_token_mean,
  seq_mean_token_sum,
  seq_mean_token_sum_norm,
  token_mean,
)
from entrojax.control import entropic_pi, no_control
from entrojax.covariance import token_covariance
from entrojax.entropy_law import fit_entropy_law
from entrojax.objectives import (
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
  policy_loss,
  ppo_clip,
  reference_kl,
  reinforce,
  stare,
  steer,
  top_entropy,
)
from entrojax.token_stats import log_prob_and_entropy
from entrojax.types import (
  AdvantageRule,
  Controller,
  Mean,
  Objective,
  Responses,
  ScoredTokens,
  TokenLoss,
)

__all__ = [
  "AdvantageRule",
  "Controller",
  "Mean",
  "Objective",
  "Responses",
  "ScoredTokens",
  "TokenLoss",
  "apply_rules",
  "ce_gppo",
  "chain",
  "cispo",
  "clip_cov",
  "dr_grpo",
  "entrocraft",
  "entropic",
  "entropic_pi",
  "entropy_advantage",
  "entropy_bonus",
  "erc",
  "fit_entropy_law",
  "grpo",
  "grpo_dropout",
  "gspo",
  "kl_cov",
  "log_prob_and_entropy",
  "no_control",
  "nsr",
  "overlong_filter",
  "overlong_penalty",
  "policy_loss",
  "ppo_clip",
  "psr",
  "reference_kl",
  "reinforce",
  "rloo",
  "seq_mean_token_mean",
  "seq_mean_token_sum",
  "seq_mean_token_sum_norm",
  "stare",
  "steer",
  "token_covariance",
  "token_mean",
  "top_entropy",
  "unlikeliness",
  "uplift_rate",
  "w_reinforce",
]
