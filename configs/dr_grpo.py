"""Dr.GRPO: no division by deviation or length (arXiv 2503.20783).

    python -m entrojax.main --config=configs/dr_grpo.py --workdir=runs/dr_grpo

Entropy: falls, as under GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("dr_grpo",)
  config.aggregation = "seq-mean-token-sum-norm"
  return config
