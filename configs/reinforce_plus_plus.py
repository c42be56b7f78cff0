r"""REINFORCE++ with a group baseline (arXiv 2501.03262).

    python -m entrojax.main --config=configs/reinforce_plus_plus.py \
        --workdir=runs/reinforce_plus_plus

Advantages are normalised over the whole batch, not in each group.

Time: about 3 to 5 minutes on two cores, as
`configs/reinforce_plus_plus.py:demo`.
Claim: the paper claims nothing of the entropy.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.2 ± 0.2 millinats per token.
"""

from configs import Method

METHOD = Method(
  title="REINFORCE++",
  family="rewards and advantages",
  equation="A = R - mean, normalised over the batch",
  files=("advantages/baselines.py", "advantages/whiten.py"),
  paper="2501.03262",
  statistics="rollout batch",
  claim="none",
  measured="+0.2 ± 0.2",
  settings={"advantage": ("dr_grpo", "whiten")},
  why="no claim about entropy against GRPO",
)
get_config = METHOD.get_config
