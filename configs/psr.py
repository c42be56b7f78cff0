"""PSR: learn from right responses alone (arXiv 2506.01347).

    python -m entrojax.main --config=configs/psr.py --workdir=runs/psr

No baseline, no dual clip; an entropy bonus of 1e-4, as in the paper. Entropy:
falls more than under GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("psr",)
  config.objective = ("ppo_clip", "entropy_bonus")
  config.entropy_bonus.entropy_coef = 1e-4
  config.ppo_clip.dual_clip = None
  return config
