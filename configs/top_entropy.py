"""80/20: learn from the fifth of tokens with most entropy (arXiv 2506.01939).

    python -m entrojax.main --config=configs/top_entropy.py --workdir=runs/top

On Clip-Higher with a dual clip of 10, as in the paper. Entropy: falls less than
under Clip-Higher alone.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "top_entropy")
  config.ppo_clip.clip_high = 0.28
  config.ppo_clip.dual_clip = 10.0
  return config
