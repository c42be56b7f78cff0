"""NSR: learn from wrong responses alone (arXiv 2506.01347).

    python -m entrojax.main --config=configs/nsr.py --workdir=runs/nsr

No baseline and no dual clip; an entropy bonus of 1e-4, as in the paper.

Time: about 3 to 5 minutes on two cores, as `configs/nsr.py:demo`.
Claim: the entropy falls less than under W-REINFORCE, and so less than under
GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +7.2 ± 1.7 millinats per token: as
the paper claims (against GRPO).
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("nsr",)
  config.objective = ("ppo_clip", "entropy_bonus")
  config.entropy_bonus.entropy_coef = 1e-4
  config.ppo_clip.dual_clip = None
  return config
