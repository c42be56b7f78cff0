"""RLOO: REINFORCE with a leave-one-out baseline (arXiv 2402.14740).

    python -m entrojax.main --config=configs/rloo.py --workdir=runs/rloo

Entropy: falls. One update per rollout batch, as REINFORCE asks.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("rloo",)
  config.objective = ("reinforce",)
  config.aggregation = "seq-mean-token-sum"
  config.training.updates_per_rollout = 1
  return config
