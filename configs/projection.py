"""GRPO with the entropy-projected update (entrojax/update/projection.py).

    python -m entrojax.main --config=configs/projection.py --workdir=runs/proj

Entropy: held near projection.target, from below only: steps that raise it are
left alone.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.projection.update(
    {"enabled": True, "target": 0.5, "gain": 0.02, "limit": 2e-3}
  )
  return config
