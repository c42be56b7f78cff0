"""GRPO with a token-mean loss (arXiv 2402.03300): the baseline.

    python -m entrojax.main --config=configs/grpo.py --workdir=runs/grpo

Entropy: falls.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  return countdown.get_config(preset)
