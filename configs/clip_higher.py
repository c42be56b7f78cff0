"""Clip-Higher: a wider upper clip, so that rare tokens may grow (DAPO).

    python -m entrojax.main --config=configs/clip_higher.py --workdir=runs/x

DAPO, arXiv 2503.14476, sec. 3.1, with its dual clip of 10. Entropy: falls less
than under GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.ppo_clip.clip_high = 0.28
  config.ppo_clip.dual_clip = 10.0
  return config
