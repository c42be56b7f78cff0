"""SEED-GRPO: prompts whose answers disagree are learned from less.

    python -m entrojax.main --config=configs/seed_grpo.py --workdir=runs/seed

arXiv 2505.12346, on Dr.GRPO. Entropy: falls less than under Dr.GRPO.

Deviation: the released code's strength is said to be 0.0417, 4 % of an update
at most; 1 halves the update of a prompt whose answers all differ.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("dr_grpo", "seed_grpo")
  config.seed_grpo.alpha = 1.0
  config.aggregation = "seq-mean-token-sum-norm"
  return config
