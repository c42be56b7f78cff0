"""CE-GPPO: clipped tokens keep a bounded gradient (arXiv 2509.20712).

    python -m entrojax.main --config=configs/ce_gppo.py --workdir=runs/ce_gppo

Entropy: falls less than under GRPO; beta_high raises it, beta_low lowers it.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ce_gppo",)
  return config
