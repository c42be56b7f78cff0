"""ERC: tokens whose entropy moved too far stop learning (arXiv 2512.05591).

    python -m entrojax.main --config=configs/erc.py --workdir=runs/erc

On Clip-Higher with a dual clip of 10. Entropy: falls more slowly than under
Clip-Higher alone.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "erc")
  config.ppo_clip.clip_high = 0.28
  config.ppo_clip.dual_clip = 10.0
  return config
