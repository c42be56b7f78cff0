"""Entrocraft: outside a band of entropy one sign of responses is rejected.

    python -m entrojax.main --config=configs/entrocraft.py --workdir=runs/craft

arXiv 2604.26326. The band is put around this base's entropy, 0.51 nats, and
lowered by 0.1 over the run. Entropy: follows the band.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("grpo", "entrocraft")
  config.entrocraft.update(
    {"low": (0.5, 0.4), "high": (0.55, 0.45), "anneal_steps": 600}
  )
  return config
