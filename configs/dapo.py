"""DAPO: Clip-Higher, dynamic sampling, token mean, soft overlong penalty.

    python -m entrojax.main --config=configs/dapo.py --workdir=runs/dapo

arXiv 2503.14476; the dual clip of 10 is its released code's. Responses here
have 12 tokens: the penalty grows from the 11th on. Entropy: falls less than
under GRPO. A step samples until num_prompts groups have right and wrong
answers, so it takes longer, and ever longer as the policy learns.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("overlong_penalty", "grpo")
  config.overlong_penalty.update({"max_length": 12, "cache_length": 2})
  config.dynamic_sampling.enabled = True
  config.ppo_clip.update({"clip_high": 0.28, "dual_clip": 10.0})
  return config
