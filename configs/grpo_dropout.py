r"""GRPODropout: drop right responses that would drain the entropy.

    python -m entrojax.main --config=configs/grpo_dropout.py \
        --workdir=runs/grpo_dropout

arXiv 2610.11854.

Time: about 3 to 5 minutes on two cores, as `configs/grpo_dropout.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +8.2 ± 0.6 millinats per token: as
the paper claims.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("grpo", "grpo_dropout")
  return config
