"""CE-GPPO: clipped tokens keep a bounded gradient (arXiv 2509.20712).

    python -m entrojax.main --config=configs/ce_gppo.py --workdir=runs/ce_gppo

Time: about 3 to 5 minutes on two cores, as `configs/ce_gppo.py:demo`.
Claim: the entropy falls less than under GRPO; a larger beta_high raises it, a
larger beta_low lowers it.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -1.6 ± 0.8 millinats per token: one
batch does not tell it from GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ce_gppo",)
  return config
