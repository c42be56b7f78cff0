r"""GRPO with the entropy-projected update (entrojax/update/projection.py).

    python -m entrojax.main --config=configs/projection.py \
        --workdir=runs/projection

Each finished optimizer step is corrected so that its first-order change of the
entropy is the prescribed one. The method is ours.

Time: about 3 to 5 minutes on two cores, as `configs/projection.py:demo`.
Claim: the entropy is held at projection.target. With projection.sided = "raise"
the target is a floor, and steps that raise the entropy are left alone.
Measured (experiments/tournament, four seeds each): told to hold 0.3, 0.5 and
0.7 nats, the entropy of rollouts in the last third of 200 rollout steps is
0.300, 0.499 and 0.700 nats per token on average. On the base that writes its
search it is 0.165 for 0.16, after 40 rollout steps.
By `python -m experiments.directions --batches=12`, with the target set to 0.8
nats, entropy minus GRPO's after the updates of one rollout batch is +7.1 ± 0.9
millinats per token, though the first of its four updates is not corrected.
"""

from configs import Method

METHOD = Method(
  title="entropy-projected update",
  family="entropy bonuses and targets",
  equation="step + lambda D g, so that H changes as prescribed",
  files=("update/projection.py",),
  paper="ours",
  statistics="mini-batch",
  claim="held at a target",
  measured="+7.1 ± 0.9",
  settings={"projection": {"enabled": True}},
  on={
    "countdown": {"projection": {"target": 0.5}},
    "logic": {"projection": {"target": 0.15}},
    "reasoning": {"projection": {"target": 0.23}},
  },
  origins={
    "countdown": (
      "Guess: the base's own entropy of 0.51 nats, rounded. After 200 rollout "
      "steps it is held at 0.510 ± 0.008 nats (four seeds)."
    ),
    "logic": "Guess: 94 % of the base's 0.16 nats.",
    "reasoning": "Scaled: the base's own entropy, as on Countdown.",
  },
  direction=1,
  overrides={"projection.target": 0.8},
  why="a target above the base's 0.51 nats: entropy is too low",
)
get_config = METHOD.get_config
