"""Dr.GRPO: GRPO without the division by deviation or length.

    python -m entrojax.main --config=configs/dr_grpo.py --workdir=runs/dr_grpo

arXiv 2503.20783.

Time: about 3 to 5 minutes on two cores, as `configs/dr_grpo.py:demo`.
Claim: the entropy falls, as under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.3 ± 0.2 millinats per token: there
is no claim against GRPO.
"""

from configs import Method

METHOD = Method(
  title="Dr.GRPO",
  family="rewards and advantages",
  equation="A = R - mean, loss / max length",
  files=("advantages/baselines.py",),
  paper="2503.20783",
  statistics="group",
  claim="falls",
  measured="+0.3 ± 0.2",
  settings={
    "advantage": ("dr_grpo",),
    "aggregation": "seq-mean-token-sum-norm",
  },
  why="no claim about entropy against GRPO",
)
get_config = METHOD.get_config
