"""GDPO: each part of the reward has a baseline of its own (arXiv 2601.05242).

    python -m entrojax.main --config=configs/gdpo.py --workdir=runs/gdpo

The parts are what a reward function returns by name, as in
`--config.task.name=rewards.py:score --config.gdpo.parts="('right','format')"`.
A response without one of them has 0 there. Countdown's reward has one part, so
that this is GRPO with advantages that are normalised over the batch.

Time: about 3 to 5 minutes on two cores, as `configs/gdpo.py:demo`.
Claim: the paper claims nothing of the entropy.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.1 ± 0.1 millinats per token.
"""

from configs import Method

METHOD = Method(
  title="GDPO",
  family="rewards and advantages",
  equation="A = sum of w_k (R_k - mean) / std, normalised over the batch",
  files=("advantages/baselines.py", "advantages/whiten.py"),
  paper="2601.05242",
  statistics="rollout batch",
  claim="none",
  measured="+0.1 ± 0.1",
  settings={"advantage": ("gdpo", "whiten")},
  why="no claim about entropy against GRPO",
)
get_config = METHOD.get_config
