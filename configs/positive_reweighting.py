"""Positive-advantage reweighting, guided by entropy (arXiv 2511.05993).

    python -m entrojax.main --config=configs/positive_reweighting.py \\
        --workdir=runs/positive_reweighting

Entropy: rises while right answers have no weight, then stays about
control.target.

The paper's schedules take the same member: control.name stage_schedule or
epoch_schedule, with the settings of the section of that name.

Deviation: the paper's target of 0.2 is where plain GRPO ends here; this one is
0.4.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "positive_reweighting")
  config.control.update({"name": "entropy_guided", "target": 0.4})
  return config
