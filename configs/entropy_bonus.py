"""GRPO with an entropy bonus (A3C, arXiv 1602.01783, sec. 4).

    python -m entrojax.main --config=configs/entropy_bonus.py --workdir=runs/eb

Entropy: falls less than without the bonus, or runs away if it is too large.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "entropy_bonus")
  config.entropy_bonus.entropy_coef = 5e-3
  return config
