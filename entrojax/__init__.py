"""Entropy control for LLM reinforcement learning, in JAX.

The library face: objectives, advantage rules, aggregations and controllers as
functions of plain arrays, usable without this package's model or trainer.

    loss, metrics = entrojax.policy_loss(objective, aggregate, tokens)
"""

from entrojax.advantages import dr_grpo, grpo, rloo
from entrojax.aggregation import (
  seq_mean_token_mean,
  seq_mean_token_sum,
  seq_mean_token_sum_norm,
  token_mean,
)
from entrojax.control import entropic_pi, no_control
from entrojax.covariance import (
  covariance_by_quadrant,
  predicted_entropy_change,
  share_by_quadrant,
  token_covariance,
)
from entrojax.entropy_law import (
  confidence,
  fit_entropy_law,
  forecast,
  predict,
  predict_with_error,
  sensitivity,
)
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
from entrojax.types import Controller, Mean, Objective, ScoredTokens, TokenLoss

__all__ = [
  "Controller",
  "Mean",
  "Objective",
  "ScoredTokens",
  "TokenLoss",
  "ce_gppo",
  "chain",
  "cispo",
  "clip_cov",
  "confidence",
  "covariance_by_quadrant",
  "dr_grpo",
  "entropic",
  "entropic_pi",
  "entropy_advantage",
  "entropy_bonus",
  "erc",
  "fit_entropy_law",
  "forecast",
  "grpo",
  "gspo",
  "kl_cov",
  "log_prob_and_entropy",
  "no_control",
  "policy_loss",
  "ppo_clip",
  "predict",
  "predict_with_error",
  "predicted_entropy_change",
  "reference_kl",
  "reinforce",
  "rloo",
  "sensitivity",
  "seq_mean_token_mean",
  "seq_mean_token_sum",
  "seq_mean_token_sum_norm",
  "share_by_quadrant",
  "stare",
  "steer",
  "token_covariance",
  "token_mean",
  "top_entropy",
]
