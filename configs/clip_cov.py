"""Clip-Cov: drop a few tokens of high covariance from the loss.

    python -m entrojax.main --config=configs/clip_cov.py --workdir=runs/clip_cov

arXiv 2505.22617.

Time: about 3 to 5 minutes on two cores, as `configs/clip_cov.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +3.9 ± 1.0 millinats per token: as
the paper claims.
"""

from configs import Method

METHOD = Method(
  title="Clip-Cov",
  family="choice and weight of tokens",
  equation="a few tokens of high covariance are dropped",
  files=("objectives/cov.py",),
  paper="2505.22617",
  statistics="mini-batch",
  claim="falls less",
  measured="+3.9 ± 1.0",
  settings={"objective": ("clip_cov",)},
  on={"countdown": {"clip_cov": {"fraction": 0.02}}},
  origins={
    "countdown": (
      "Scaled: the paper drops 0.02 % of the tokens of a mini-batch, which "
      "are hundreds there. A mini-batch has about 700 tokens here, so that 2 "
      "% are 14 tokens. After 200 rollout steps the entropy is 0.453 nats, "
      "under GRPO 0.351 (four seeds)."
    ),
  },
  direction=1,
)
get_config = METHOD.get_config
