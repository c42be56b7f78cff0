"""RS-GRPO: risk-seeking advantages (arXiv 2509.24261).

    python -m entrojax.main --config=configs/rs_grpo.py --workdir=runs/rs_grpo

Time: about 3 to 5 minutes on two cores, as `configs/rs_grpo.py:demo`.
Claim: the paper claims nothing of the entropy. pass@k is higher.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -0.3 ± 0.4 millinats per token.
"""

from configs import Method

METHOD = Method(
  title="RS-GRPO",
  family="rewards and advantages",
  equation="A = (exp(beta R) / mean exp(beta R) - 1) / beta",
  files=("advantages/baselines.py",),
  paper="2509.24261",
  statistics="group",
  claim="none",
  measured="-0.3 ± 0.4",
  settings={"advantage": ("rs_grpo",)},
  why="no claim about entropy against GRPO",
)
get_config = METHOD.get_config
