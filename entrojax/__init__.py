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
  "dr_grpo",
  "entropic",
  "entropic_pi",
  "entropy_advantage",
  "entropy_bonus",
  "erc",
  "fit_entropy_law",
  "grpo",
  "gspo",
  "kl_cov",
  "log_prob_and_entropy",
  "no_control",
  "policy_loss",
  "ppo_clip",
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
]
