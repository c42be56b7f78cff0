"""SENT's token level: a KL penalty on tokens of low entropy (arXiv 2512.04359).

    python -m entrojax.main --config=configs/sent_token.py --workdir=runs/token

Entropy: falls less than under GRPO. The paper's other half, training on prompts
from low to high semantic entropy, is in configs/sent.py.

Deviation: of the tokens of low entropy, the released code takes 0.02% for those
of high covariance. A mini-batch has some 560 of them here: 2% are 11.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "sent")
  config.sent.cov_fraction = 0.02
  config.aggregation = "seq-mean-token-mean"
  return config
