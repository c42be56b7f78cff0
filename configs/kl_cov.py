"""KL-Cov: pull tokens of the highest covariance back (arXiv 2505.22617).

    python -m entrojax.main --config=configs/kl_cov.py --workdir=runs/kl_cov

Entropy: falls less than under GRPO.

Deviation: the paper pulls 0.2% of its mini-batch's tokens, thousands of them. A
mini-batch has some 700 tokens here: 2% are 14.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("kl_cov",)
  config.kl_cov.fraction = 0.02
  return config
