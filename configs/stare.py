"""STARE: below a target, rare tokens of right answers count more.

    python -m entrojax.main --config=configs/stare.py --workdir=runs/stare

arXiv 2606.19236. With constant weights, on Clip-Higher.

Time: about 3 to 5 minutes on two cores, as `configs/stare.py:demo`.
Claim: once the entropy is below stare.target, it falls less than under
Clip-Higher.
Measured (`python -m experiments.directions --batches=12`, with the target set
to 0.8 nats): after the updates of one rollout batch, entropy minus GRPO's is
+0.8 ± 0.2 millinats per token: as the paper claims (against GRPO).
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "stare")
  config.ppo_clip.clip_high = 0.28
  return config
