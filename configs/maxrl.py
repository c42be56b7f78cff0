"""MaxRL: maximum likelihood of right responses (arXiv 2602.02710).

    python -m entrojax.main --config=configs/maxrl.py --workdir=runs/maxrl

A prompt counts in inverse proportion to its success rate.

Time: about 3 to 5 minutes on two cores, as `configs/maxrl.py:demo`.
Claim: the paper claims nothing of the entropy. pass@k is higher.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.1 ± 0.6 millinats per token.
"""

from configs import Method

METHOD = Method(
  title="MaxRL",
  family="rewards and advantages",
  equation="A = (R - mean) / success rate",
  files=("advantages/baselines.py",),
  paper="2602.02710",
  statistics="group",
  claim="none",
  measured="+0.1 ± 0.6",
  settings={"advantage": ("maxrl",)},
  why="no claim about entropy against GRPO",
)
get_config = METHOD.get_config
