r"""The unlikeliness reward: likely right responses earn less.

    python -m entrojax.main --config=configs/unlikeliness.py \
        --workdir=runs/unlikeliness

arXiv 2506.02355. This is the paper's setting "Unlikeliness-2": two epochs over
each rollout batch, and a KL penalty to the base with a coefficient of 0.10.

Time: about 3 to 5 minutes on two cores, as `configs/unlikeliness.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +1.3 ± 1.2 millinats per token: one
batch does not tell it from GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("unlikeliness", "grpo")
  config.objective = ("ppo_clip", "reference_kl")
  config.reference_kl.kl_coef = 0.1
  config.training.update({"updates_per_rollout": 4, "num_epochs": 2})
  return config
