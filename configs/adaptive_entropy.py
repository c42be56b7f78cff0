"""Skywork-OR1's entropy bonus, whose coefficient adapts (arXiv 2505.22312).

    python -m entrojax.main --config=configs/adaptive_entropy.py \\
        --workdir=runs/adaptive_entropy

Entropy: falls as under GRPO down to control.target, and less below it, where
the bonus acts.

Deviation: the paper's target of 0.2 is where plain GRPO ends here; this one is
0.4.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "adaptive_entropy")
  config.control.update({"name": "adaptive_coefficient", "target": 0.4})
  return config
