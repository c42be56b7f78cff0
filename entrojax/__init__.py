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
from entrojax.control import (
  adaptive_coefficient,
  entropic_pi,
  entropy_guided,
  epoch_schedule,
  no_control,
  stage_schedule,
  stare_weights,
)
from entrojax.covariance import token_covariance
from entrojax.entropy_law import fit_entropy_law
from entrojax.objectives import (
  adaptive_entropy,
  adaptive_stare,
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
  positive_reweighting,
  ppo_clip,
  reference_kl,
  reinforce,
  sent,
  sent_released,
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
  "adaptive_coefficient",
  "adaptive_entropy",
  "adaptive_stare",
  "ce_gppo",
  "chain",
  "cispo",
  "clip_cov",
  "dr_grpo",
  "entropic",
  "entropic_pi",
  "entropy_advantage",
  "entropy_bonus",
  "entropy_guided",
  "epoch_schedule",
  "erc",
  "fit_entropy_law",
  "grpo",
  "gspo",
  "kl_cov",
  "log_prob_and_entropy",
  "no_control",
  "policy_loss",
  "positive_reweighting",
  "ppo_clip",
  "reference_kl",
  "reinforce",
  "rloo",
  "sent",
  "sent_released",
  "seq_mean_token_mean",
  "seq_mean_token_sum",
  "seq_mean_token_sum_norm",
  "stage_schedule",
  "stare",
  "stare_weights",
  "steer",
  "token_covariance",
  "token_mean",
  "top_entropy",
]
