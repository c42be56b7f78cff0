"""STEER: damp the tokens that move the entropy most (arXiv 2510.10150).

    python -m entrojax.main --config=configs/steer.py --workdir=runs/steer

On Clip-Higher with a dual clip of 10, as in the paper's scripts. Entropy: falls
more slowly than under Clip-Higher alone.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "steer")
  config.ppo_clip.clip_high = config.steer.clip_high = 0.28
  config.ppo_clip.dual_clip = 10.0
  return config
