"""DCPO: draw the entropy to a target by REINFORCE on a tempered policy.

    python -m entrojax.main --config=configs/dcpo.py --workdir=runs/dcpo

arXiv 2601.12730. Right responses weigh more where a hotter policy (temperature
1.2) would have sampled them, or a colder one (0.8) while the entropy is above
dcpo.target. The paper samples at temperature 1; at another one, dcpo.hot and
dcpo.cold are these multiples of it. With several updates per rollout, the two
temperatures cost one more forward pass of the rollout batch.

Time: about 3 to 5 minutes on two cores, as `configs/dcpo.py:demo`.
Claim: the entropy is held at dcpo.target.
Measured (`python -m experiments.directions --batches=12`, with the target set
to 0.8 nats): after the updates of one rollout batch, entropy minus GRPO's is
-0.0 ± 0.3 millinats per token: one batch does not tell it from GRPO.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict as Config

from configs import Method


def settings(config: Config) -> Mapping[str, Any]:
  """Return the settings: the temperatures follow the sampling temperature."""
  temperature = config.rollout.get_ref("temperature")
  return {
    "objective": ("ppo_clip", "dcpo"),
    "dcpo": {"hot": 1.2 * temperature, "cold": 0.8 * temperature},
  }


METHOD = Method(
  title="DCPO",
  family="entropy bonuses and targets",
  equation="(1 - a) A + a 1[right] pi_T / pi, T = 1.2 below a target, else 0.8",
  files=("objectives/dcpo.py",),
  paper="2601.12730",
  statistics="rollout batch, mini-batch",
  claim="held at a target",
  measured="-0.0 ± 0.3",
  settings=settings,
  on={
    "logic": {"dcpo": {"target": 0.15}},
    "reasoning": {"dcpo": {"target": 0.23}},
  },
  origins={
    "logic": "Guess: 94 % of the base's 0.16 nats.",
    "reasoning": (
      "Scaled: 98 % of the base's 0.23 nats; the default of 0.5 nats is 98 % "
      "of 0.51 nats on Countdown."
    ),
  },
  direction=1,
  overrides={"dcpo.target": 0.8},
  why="a target above the base's 0.51 nats: entropy is too low",
)
get_config = METHOD.get_config
