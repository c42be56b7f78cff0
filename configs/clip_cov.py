"""Clip-Cov: drop a few tokens of high covariance from the loss.

    python -m entrojax.main --config=configs/clip_cov.py --workdir=runs/clip_cov

arXiv 2505.22617.

Time: about 3 to 5 minutes on two cores, as `configs/clip_cov.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +3.9 ± 1.0 millinats per token: as
the paper claims.

Deviation: the paper drops 0.02 % of the tokens of a mini-batch, which are
hundreds of tokens there. A mini-batch has about 700 tokens here, so 2 % are
dropped, which are 14 tokens.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("clip_cov",)
  config.clip_cov.fraction = 0.02
  return config
