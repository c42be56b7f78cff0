"""MaxRL: maximum likelihood of right responses (arXiv 2602.02710).

    python -m entrojax.main --config=configs/maxrl.py --workdir=runs/maxrl

A prompt counts in inverse proportion to its success rate.

Time: about 3 to 5 minutes on two cores, as `configs/maxrl.py:demo`.
Claim: the entropy falls less than under GRPO, and pass@k is higher.
Measured (`python -m experiments.directions --batches=12`): not yet.
"""

from configs import Method

METHOD = Method(
  title="MaxRL",
  equation="A = (R - mean) / success rate",
  files=("advantages/baselines.py",),
  paper="2602.02710",
  statistics="group",
  claim="falls less",
  measured="not yet",
  settings={"advantage": ("maxrl",)},
  direction=1,
)
get_config = METHOD.get_config
