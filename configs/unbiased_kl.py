r"""GRPO with an unbiased KL penalty to the base (arXiv 2512.02556).

    python -m entrojax.main --config=configs/unbiased_kl.py \
        --workdir=runs/unbiased_kl

The ratio corrects the penalty for tokens that an older policy sampled, as in
DeepSeek-V3.2.

Time: about 3 to 5 minutes on two cores, as `configs/unbiased_kl.py:demo`.
Claim: the entropy falls less than without the penalty.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.1 ± 0.1 millinats per token, too
little to tell it from GRPO.
"""

from configs import Method

METHOD = Method(
  title="unbiased KL to the base",
  family="distance to the base",
  equation="+ coef r k3",
  files=("objectives/reference_kl.py",),
  paper="2512.02556",
  statistics="none",
  claim="falls less",
  measured="+0.1 ± 0.1",
  settings={
    "objective": ("ppo_clip", "reference_kl"),
    "reference_kl": {"kl_coef": 0.04, "ratio_weighted": True},
  },
  on={"countdown": {"reference_kl": {"kl_coef": 0.05}}},
  origins={
    "countdown": (
      "As configs/reference_kl.py: a guess slightly above 0.04. After 200 "
      "rollout steps the entropy is 0.408 nats, under GRPO 0.343 (seed 0)."
    ),
  },
  direction=1,
)
get_config = METHOD.get_config
