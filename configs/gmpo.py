"""GMPO: the geometric mean of a sequence's ratios (arXiv 2507.20673).

    python -m entrojax.main --config=configs/gmpo.py --workdir=runs/gmpo

Time: about 3 to 5 minutes on two cores, as `configs/gmpo.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -1.0 ± 0.4 millinats per token: the
opposite of the claim.
"""

from configs import Method

METHOD = Method(
  title="GMPO",
  family="surrogates",
  equation="-A exp(mean of clipped log r) per sequence",
  files=("objectives/gmpo.py",),
  paper="2507.20673",
  statistics="sequence",
  claim="falls less",
  measured="-1.0 ± 0.4",
  settings={"objective": ("gmpo",), "aggregation": "seq-mean-token-mean"},
  direction=1,
)
get_config = METHOD.get_config
