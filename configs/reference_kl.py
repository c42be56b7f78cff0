"""GRPO with a penalty on the distance from the base (arXiv 2402.03300, eq. 4).

    python -m entrojax.main --config=configs/reference_kl.py --workdir=runs/kl

Entropy: falls less than without the penalty.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "reference_kl")
  config.reference_kl.kl_coef = 0.05
  return config
