r"""GRPO with an entropy bonus of constant strength.

    python -m entrojax.main --config=configs/entropy_bonus.py \
        --workdir=runs/entropy_bonus

A3C, arXiv 1602.01783, sec. 4.

Time: about 3 to 5 minutes on two cores, as `configs/entropy_bonus.py:demo`.
Claim: the entropy falls less than without the bonus, or grows without bound if
the bonus is too large.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.5 ± 0.0 millinats per token: as
claimed.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "entropy_bonus")
  config.entropy_bonus.entropy_coef = 5e-3
  return config
