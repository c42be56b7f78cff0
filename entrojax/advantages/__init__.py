"""Advantages: from the rewards of a group's responses to what weighs them.

A rule is a function Responses -> Responses; rules are applied in order. Some
shape rewards, one (the baseline) turns them into advantages, and later ones
scale advantages or leave responses out.
"""

from entrojax.advantages.baselines import dr_grpo, grpo, rloo
from entrojax.advantages.decomposed import nsr, psr, w_reinforce
from entrojax.advantages.entrocraft import entrocraft
from entrojax.advantages.grpo_dropout import grpo_dropout
from entrojax.advantages.overlong import overlong_filter, overlong_penalty
from entrojax.advantages.rules import apply_rules
from entrojax.advantages.seed_grpo import seed_grpo
from entrojax.advantages.unlikeliness import unlikeliness, uplift_rate

__all__ = [
  "apply_rules",
  "dr_grpo",
  "entrocraft",
  "grpo",
  "grpo_dropout",
  "nsr",
  "overlong_filter",
  "overlong_penalty",
  "psr",
  "rloo",
  "seed_grpo",
  "unlikeliness",
  "uplift_rate",
  "w_reinforce",
]
