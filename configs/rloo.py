"""RLOO: REINFORCE with a leave-one-out baseline (arXiv 2402.14740).

    python -m entrojax.main --config=configs/rloo.py --workdir=runs/rloo

Each rollout batch gets a single update, as REINFORCE requires.

Time: about 3 to 5 minutes on two cores, as `configs/rloo.py:demo`.
Claim: the entropy falls.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +5.9 ± 1.2 millinats per token: there
is no claim against GRPO.
"""

from configs import Method

METHOD = Method(
  title="RLOO on REINFORCE",
  family="rewards and advantages",
  equation="A = R - mean of the others",
  files=("advantages/baselines.py", "objectives/reinforce.py"),
  paper="2402.14740",
  statistics="group",
  claim="falls",
  measured="+5.9 ± 1.2",
  settings={
    "advantage": ("rloo",),
    "objective": ("reinforce",),
    "aggregation": "seq-mean-token-sum",
    "training": {"updates_per_rollout": 1},
  },
  why="no claim about entropy against GRPO",
)
get_config = METHOD.get_config
