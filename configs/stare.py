"""STARE: below a target, rare tokens of right answers count more.

    python -m entrojax.main --config=configs/stare.py --workdir=runs/stare

arXiv 2606.19236, with constant weights, on Clip-Higher. Entropy: falls less
than under Clip-Higher once it is below stare.target.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "stare")
  config.ppo_clip.clip_high = 0.28
  return config
