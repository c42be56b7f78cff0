"""SimKO: the likeliest alternatives share what a right token gains.

    python -m entrojax.main --config=configs/simko.py --workdir=runs/simko

arXiv 2510.14807. As in the released script, at the fifth of tokens of highest
entropy: 1 % of the gradient of right tokens goes to the three likeliest tokens,
and wrong tokens that are the likeliest weigh 1.1.

Time: about 3 to 5 minutes on two cores, as `configs/simko.py:demo`.
Claim: the policy is less concentrated than under GRPO, and pass@k is higher.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.7 ± 0.2 millinats per token: as
claimed.
"""

from configs import Method

METHOD = Method(
  title="SimKO",
  family="choice and weight of tokens",
  equation="r <- (1 - m) r + m mean_k r_k if right; A x 1.1 if wrong and top-1",
  files=("objectives/simko.py",),
  paper="2510.14807",
  statistics="sequence",
  claim="falls less",
  measured="+0.7 ± 0.2",
  settings={"objective": ("simko",)},
  direction=1,
)
get_config = METHOD.get_config
