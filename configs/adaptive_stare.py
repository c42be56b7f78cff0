"""STARE whose weights adapt: up below a target, down above (arXiv 2606.19236).

    python -m entrojax.main --config=configs/adaptive_stare.py \\
        --workdir=runs/adaptive_stare

On Clip-Higher. Entropy: falls less than under configs/stare.py once it is below
control.target.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "adaptive_stare")
  config.ppo_clip.clip_high = 0.28
  config.control.update({"name": "stare_weights", "target": 0.3})
  return config
