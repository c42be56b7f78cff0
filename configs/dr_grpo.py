"""Dr.GRPO: GRPO without the division by deviation or length.

    python -m entrojax.main --config=configs/dr_grpo.py --workdir=runs/dr_grpo

arXiv 2503.20783.

Time: about 3 to 5 minutes on two cores, as `configs/dr_grpo.py:demo`.
Claim: the entropy falls, as under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.3 ± 0.2 millinats per token: there
is no claim against GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("dr_grpo",)
  config.aggregation = "seq-mean-token-sum-norm"
  return config
