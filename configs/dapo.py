"""DAPO: Clip-Higher, dynamic sampling, overlong penalty (arXiv 2503.14476).

    python -m entrojax.main --config=configs/dapo.py --workdir=runs/dapo

The loss is a token mean and the dual clip of 10 is the released code's.
Responses have up to 12 tokens here: the penalty starts at the 11th.

Time: not recorded; longer than the 3 to 5 minutes of the other Countdown
configs. A step samples until num_prompts groups have both right and wrong
answers, which takes more batches the better the policy gets.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`, without the dynamic
sampling): after the updates of one rollout batch, entropy minus GRPO's is +8.4
± 0.9 millinats per token: as the paper claims.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("overlong_penalty", "grpo")
  length = config.rollout.response_length
  config.overlong_penalty.update(
    {"max_length": length, "cache_length": length // 6}
  )
  config.dynamic_sampling.enabled = True
  config.ppo_clip.update({"clip_high": 0.28, "dual_clip": 10.0})
  return config
