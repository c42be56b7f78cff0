"""Objectives: what a token's loss is, composed by chain."""

from entrojax.objectives.chain import chain, policy_loss
from entrojax.objectives.cov import clip_cov, kl_cov
from entrojax.objectives.entropic import entropic
from entrojax.objectives.entropy_bonus import entropy_bonus
from entrojax.objectives.ppo import ppo_clip
from entrojax.objectives.reference_kl import reference_kl
from entrojax.objectives.reinforce import reinforce

__all__ = [
  "chain",
  "clip_cov",
  "entropic",
  "entropy_bonus",
  "kl_cov",
  "policy_loss",
  "ppo_clip",
  "reference_kl",
  "reinforce",
]
