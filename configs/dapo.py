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

from configs import Method, response_length


def settings(config: Config) -> dict:
  """Return the settings; the penalty grows over the last fifth, as in DAPO."""
  length = response_length(config)
  return {
    "advantage": ("overlong_penalty", "grpo"),
    "overlong_penalty": {"max_length": length, "cache_length": length // 5},
    "dynamic_sampling": {"enabled": True},
    "ppo_clip": {"clip_high": 0.28, "dual_clip": 10.0},
  }


def on_countdown(config: Config) -> dict:
  """Return the last sixth instead."""
  length = response_length(config)
  return {"overlong_penalty": {"cache_length": length // 6}}


METHOD = Method(
  title="DAPO",
  family="surrogates",
  equation="dynamic sampling; Clip-Higher, dual clip 10, R + R_length",
  files=(
    "rollouts/dynamic_sampling.py",
    "advantages/overlong.py",
    "objectives/ppo.py",
  ),
  paper="2503.14476",
  statistics="none",
  claim="falls less",
  measured="+8.4 ± 0.9, without dynamic sampling",
  settings=settings,
  on={"countdown": on_countdown},
  origins={
    "countdown": (
      "Guess: the penalty grows over the last sixth of a response. For "
      "Countdown's 12 tokens this is 2 tokens, as many as by the paper's last "
      "fifth."
    ),
  },
  variants=("overlong_filter",),
  direction=1,
  why="without its dynamic sampling: all methods get the same batches",
)
get_config = METHOD.get_config
