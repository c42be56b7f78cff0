"""Entropy as advantage: GRPO with a bonus for uncertain tokens.

    python -m entrojax.main --config=configs/entropy_advantage.py \\
        --workdir=runs/entropy_advantage

arXiv 2506.14758. Entropy: falls less than under GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "entropy_advantage")
  return config
