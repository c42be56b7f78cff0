"""GRPO-S: right responses of high entropy earn more (arXiv 2508.04349).

    python -m entrojax.main --config=configs/grpo_s.py --workdir=runs/grpo_s

Time: about 3 to 5 minutes on two cores, as `configs/grpo_s.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.2 ± 0.2 millinats per token: one
batch does not tell it from GRPO.
"""

from configs import Method

METHOD = Method(
  title="GRPO-S",
  family="rewards and advantages",
  equation="R + strength H / mean H of right responses",
  files=("advantages/grpo_s.py",),
  paper="2508.04349",
  statistics="group",
  claim="falls less",
  measured="+0.2 ± 0.2",
  settings={"advantage": ("grpo_s", "grpo")},
  direction=1,
)
get_config = METHOD.get_config
