"""The unlikeliness reward: likely right responses earn less.

    python -m entrojax.main --config=configs/unlikeliness.py --workdir=runs/rare

arXiv 2506.02355, its setting "Unlikeliness-2": two epochs over each rollout
batch and a KL of 0.10 to the base. Entropy: falls less than under GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("unlikeliness", "grpo")
  config.objective = ("ppo_clip", "reference_kl")
  config.reference_kl.kl_coef = 0.1
  config.training.update({"updates_per_rollout": 4, "num_epochs": 2})
  return config
