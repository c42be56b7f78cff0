r"""Entrocraft: outside an entropy band, reject one sign of advantage.

    python -m entrojax.main --config=configs/entrocraft.py \
        --workdir=runs/entrocraft

arXiv 2604.26326. The band lies around this base's entropy of 0.51 nats and
moves down by 0.1 over the run.

Time: about 3 to 5 minutes on two cores, as `configs/entrocraft.py:demo`.
Claim: the entropy follows the band.
Measured (`python -m experiments.directions --batches=12`, with the band at 0.8
to 0.9 nats): after the updates of one rollout batch, entropy minus GRPO's is
+6.5 ± 1.2 millinats per token: as the paper claims.
"""

from ml_collections import ConfigDict as Config

from configs import Method, num_rollout_steps


def settings(config: Config) -> dict:
  """Return the settings: the band moves until the run's end."""
  return {
    "advantage": ("grpo", "entrocraft"),
    "entrocraft": {"anneal_steps": num_rollout_steps(config)},
  }


METHOD = Method(
  title="Entrocraft",
  family="entropy bonuses and targets",
  equation="one sign of A is left out while H is outside a band",
  files=("advantages/entrocraft.py",),
  paper="2604.26326",
  statistics="rollout batch",
  claim="follows the band",
  measured="+6.5 ± 1.2",
  settings=settings,
  on={
    "countdown": {"entrocraft": {"low": (0.5, 0.4), "high": (0.55, 0.45)}},
    "logic": {"entrocraft": {"low": (0.15, 0.12), "high": (0.18, 0.15)}},
    "reasoning": {"entrocraft": {"low": (0.23, 0.18), "high": (0.25, 0.2)}},
  },
  origins={
    "countdown": (
      "Guess: a band around the base's 0.51 nats that moves down by 0.1 over "
      "the run. After 200 rollout steps the entropy is 0.351 ± 0.038 nats, "
      "below the band (four seeds)."
    ),
    "logic": (
      "Guess: a band around the base's 0.16 nats that moves down by a fifth "
      "over the run."
    ),
    "reasoning": (
      "Scaled: Countdown's shares of the base's entropy, which is 0.23 nats."
    ),
  },
  direction=1,
  overrides={"entrocraft.low": (0.8, 0.8), "entrocraft.high": (0.9, 0.9)},
  why="a target above the base's 0.51 nats: entropy is too low",
)
get_config = METHOD.get_config
