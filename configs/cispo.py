"""CISPO: REINFORCE with clipped ratios as constant weights.

    python -m entrojax.main --config=configs/cispo.py --workdir=runs/cispo

arXiv 2506.13585.

Time: about 3 to 5 minutes on two cores, as `configs/cispo.py:demo`.
Claim: the entropy falls less than under GRPO, because rare tokens keep their
gradient.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -1.9 ± 0.9 millinats per token: one
batch does not tell it from GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("cispo",)
  return config
