r"""SENT's token level: a KL penalty on tokens of low entropy.

    python -m entrojax.main --config=configs/sent_token.py \
        --workdir=runs/sent_token

arXiv 2512.04359. The paper's other half, training on prompts from low to high
semantic entropy, is in configs/sent.py.

Time: about 3 to 5 minutes on two cores, as `configs/sent_token.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +1.0 ± 0.6 millinats per token: one
batch does not tell it from GRPO.
"""

from typing import Any

from configs import Method

SETTINGS: dict[str, Any] = {
  "objective": ("ppo_clip", "sent"),
  "aggregation": "seq-mean-token-mean",
}
ON: dict[str, Any] = {"countdown": {"sent": {"cov_fraction": 0.02}}}
ORIGINS = {
  "countdown": (
    "Scaled: in the released code, 0.02 % of the tokens of low entropy count "
    "as high in covariance. A mini-batch has about 560 tokens of low entropy "
    "here, so that 2 % are 11 tokens. After 200 rollout steps the entropy is "
    "0.431 nats, under GRPO 0.351 (four seeds)."
  ),
}
METHOD = Method(
  title="SENT, its token level",
  family="distance to the base",
  equation="KL to the base at low H, more at high covariance",
  files=("objectives/sent.py",),
  paper="2512.04359",
  statistics="mini-batch",
  claim="falls less",
  measured="+1.0 ± 0.6",
  settings=SETTINGS,
  on=ON,
  origins=ORIGINS,
  variants=("sent_released",),
  direction=1,
)
get_config = METHOD.get_config
