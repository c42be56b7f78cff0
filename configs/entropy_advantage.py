r"""Entropy as advantage: GRPO with a bonus for uncertain tokens.

    python -m entrojax.main --config=configs/entropy_advantage.py \
        --workdir=runs/entropy_advantage

arXiv 2506.14758.

Time: about 3 to 5 minutes on two cores, as `configs/entropy_advantage.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -1.1 ± 0.5 millinats per token: the
opposite of the claim.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "entropy_advantage")
  return config
