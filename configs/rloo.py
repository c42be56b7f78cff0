"""RLOO: REINFORCE with a leave-one-out baseline (arXiv 2402.14740).

    python -m entrojax.main --config=configs/rloo.py --workdir=runs/rloo

Each rollout batch gets a single update, as REINFORCE requires.

Time: about 3 to 5 minutes on two cores, as `configs/rloo.py:demo`.
Claim: the entropy falls.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +5.9 ± 1.2 millinats per token: there
is no claim against GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("rloo",)
  config.objective = ("reinforce",)
  config.aggregation = "seq-mean-token-sum"
  config.training.updates_per_rollout = 1
  return config
