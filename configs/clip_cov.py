"""Clip-Cov: drop a few tokens of high covariance (arXiv 2505.22617).

    python -m entrojax.main --config=configs/clip_cov.py --workdir=runs/clip_cov

Entropy: falls less than under GRPO.

Deviation: the paper drops 0.02% of its mini-batch's tokens, hundreds of them.
A mini-batch has some 700 tokens here: 2% are 14.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("clip_cov",)
  config.clip_cov.fraction = 0.02
  return config
