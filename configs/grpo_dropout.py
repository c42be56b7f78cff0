"""GRPODropout: right responses that would drain the entropy are dropped.

    python -m entrojax.main --config=configs/grpo_dropout.py --workdir=runs/drop

arXiv 2610.11854. Entropy: falls less than under GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("grpo", "grpo_dropout")
  return config
