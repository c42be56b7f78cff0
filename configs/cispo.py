"""CISPO: REINFORCE with clipped, constant weights (arXiv 2506.13585).

    python -m entrojax.main --config=configs/cispo.py --workdir=runs/cispo

Entropy: falls less than under GRPO: rare tokens keep their gradient.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("cispo",)
  return config
