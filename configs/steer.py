"""STEER: damp the tokens that move the entropy most (arXiv 2510.10150).

    python -m entrojax.main --config=configs/steer.py --workdir=runs/steer

On Clip-Higher with a dual clip of 10, as in the paper's scripts.

Time: about 3 to 5 minutes on two cores, as `configs/steer.py:demo`.
Claim: the entropy falls more slowly than under Clip-Higher alone.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.5 ± 0.2 millinats per token: as
the paper claims (against GRPO).
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "steer")
  config.ppo_clip.clip_high = config.steer.clip_high = 0.28
  config.ppo_clip.dual_clip = 10.0
  return config
