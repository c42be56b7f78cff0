r"""GRPO with a KL penalty to the base model (arXiv 2402.03300, eq. 4).

    python -m entrojax.main --config=configs/reference_kl.py \
        --workdir=runs/reference_kl

Time: about 3 to 5 minutes on two cores, as `configs/reference_kl.py:demo`.
Claim: the entropy falls less than without the penalty.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.9 ± 0.5 millinats per token: one
batch does not tell it from GRPO.
"""

from configs import Method

METHOD = Method(
  title="KL to the base",
  family="distance to the base",
  equation="+ coef k1, k2 or k3",
  files=("objectives/reference_kl.py",),
  paper="2402.03300",
  statistics="none",
  claim="falls less",
  measured="+0.9 ± 0.5",
  settings={
    "objective": ("ppo_clip", "reference_kl"),
    "reference_kl": {"kl_coef": 0.04},
  },
  on={"countdown": {"reference_kl": {"kl_coef": 0.05}}},
  origins={
    "countdown": (
      "Guess: slightly above the paper's 0.04. After 200 rollout steps the "
      "entropy is 0.417 nats, under GRPO 0.343 (seed 0)."
    ),
  },
  direction=1,
)
get_config = METHOD.get_config
