r"""GRPODropout: drop right responses that would drain the entropy.

    python -m entrojax.main --config=configs/grpo_dropout.py \
        --workdir=runs/grpo_dropout

arXiv 2610.11854.

Time: about 3 to 5 minutes on two cores, as `configs/grpo_dropout.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +8.2 ± 0.6 millinats per token: as
the paper claims.
"""

from configs import Method

METHOD = Method(
  title="GRPODropout",
  family="rewards and advantages",
  equation="likely right responses are dropped until sum A (s - mean s) >= 0",
  files=("advantages/grpo_dropout.py",),
  paper="2610.11854",
  statistics="group",
  claim="falls less",
  measured="+8.2 ± 0.6",
  settings={"advantage": ("grpo", "grpo_dropout")},
  direction=1,
)
get_config = METHOD.get_config
