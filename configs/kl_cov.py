"""KL-Cov: a KL penalty on the tokens of highest covariance.

    python -m entrojax.main --config=configs/kl_cov.py --workdir=runs/kl_cov

arXiv 2505.22617.

Time: about 3 to 5 minutes on two cores, as `configs/kl_cov.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.9 ± 0.5 millinats per token: one
batch does not tell it from GRPO.
"""

from typing import Any

from configs import Method

ON: dict[str, Any] = {"countdown": {"kl_cov": {"fraction": 0.02}}}
ORIGINS = {
  "countdown": (
    "Scaled: the paper penalises 0.2 % of the tokens of a mini-batch, which "
    "are thousands there. A mini-batch has about 700 tokens here, so that 2 % "
    "are 14 tokens. After 200 rollout steps the entropy is 0.385 nats, under "
    "GRPO 0.351 (four seeds)."
  ),
}
METHOD = Method(
  title="KL-Cov",
  family="choice and weight of tokens",
  equation="-A r + |log r| on the highest covariances",
  files=("objectives/cov.py",),
  paper="2505.22617",
  statistics="mini-batch",
  claim="falls less",
  measured="+0.9 ± 0.5",
  settings={"objective": ("kl_cov",)},
  on=ON,
  origins=ORIGINS,
  direction=1,
)
get_config = METHOD.get_config
