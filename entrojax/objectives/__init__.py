"""Objectives: what a token's loss is, composed by chain."""

from entrojax.objectives.adaptive_entropy import adaptive_entropy
from entrojax.objectives.bcpg import bcpg
from entrojax.objectives.ce_gppo import ce_gppo
from entrojax.objectives.chain import chain, policy_loss
from entrojax.objectives.cispo import cispo
from entrojax.objectives.cov import clip_cov, kl_cov
from entrojax.objectives.entropic import entropic
from entrojax.objectives.entropy_advantage import entropy_advantage
from entrojax.objectives.entropy_bonus import entropy_bonus
from entrojax.objectives.erc import erc
from entrojax.objectives.gspo import gspo
from entrojax.objectives.negative_sample_augmentation import (
  negative_sample_augmentation,
)
from entrojax.objectives.positive_reweighting import positive_reweighting
from entrojax.objectives.ppo import ppo_clip
from entrojax.objectives.reference_kl import reference_kl
from entrojax.objectives.reinforce import reinforce
from entrojax.objectives.sent import sent, sent_released
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
  "stare",
  "steer",
  "top_entropy",
]
