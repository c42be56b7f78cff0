"""W-REINFORCE: wrong responses count fully, right ones a tenth.

    python -m entrojax.main --config=configs/w_reinforce.py --workdir=runs/w

arXiv 2506.01347. No baseline, no dual clip; an entropy bonus of 1e-4, as in the
paper. Entropy: falls less than under GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("w_reinforce",)
  config.objective = ("ppo_clip", "entropy_bonus")
  config.entropy_bonus.entropy_coef = 1e-4
  config.ppo_clip.dual_clip = None
  return config
