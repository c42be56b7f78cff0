r"""The unlikeliness reward: likely right responses earn less.

    python -m entrojax.main --config=configs/unlikeliness.py \
        --workdir=runs/unlikeliness

arXiv 2506.02355. This is the paper's setting "Unlikeliness-2": two epochs over
each rollout batch, and a KL penalty to the base with a coefficient of 0.10.

Time: about 3 to 5 minutes on two cores, as `configs/unlikeliness.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +1.3 ± 1.2 millinats per token: one
batch does not tell it from GRPO.
"""

from configs import Method

METHOD = Method(
  title="unlikeliness reward",
  family="rewards and advantages",
  equation="R (1 - beta rank / G)",
  files=("advantages/unlikeliness.py",),
  paper="2506.02355",
  statistics="group",
  claim="falls less",
  measured="+1.3 ± 1.2",
  settings={
    "advantage": ("unlikeliness", "grpo"),
    "objective": ("ppo_clip", "reference_kl"),
    "reference_kl": {"kl_coef": 0.1},
    "training": {"updates_per_rollout": 4, "num_epochs": 2},
  },
  direction=1,
)
get_config = METHOD.get_config
