r"""GRPO with a KL penalty to the base model (arXiv 2402.03300, eq. 4).

    python -m entrojax.main --config=configs/reference_kl.py \
        --workdir=runs/reference_kl

Time: about 3 to 5 minutes on two cores, as `configs/reference_kl.py:demo`.
Claim: the entropy falls less than without the penalty.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.9 ± 0.5 millinats per token: one
batch does not tell it from GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "reference_kl")
  config.reference_kl.kl_coef = 0.05
  return config
