"""DPPO: a trust region in probabilities, not in ratios (arXiv 2602.04879).

    python -m entrojax.main --config=configs/dppo.py --workdir=runs/dppo

The binary total variation, with the settings of verl's script. The binary KL is
`dppo.divergence=kl`, for which 0.05 takes the place of 0.15.

Time: about 3 to 5 minutes on two cores, as `configs/dppo.py:demo`.
Claim: the paper claims nothing of the entropy. Training is more stable.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -0.7 ± 0.3 millinats per token.
"""

from configs import Method

METHOD = Method(
  title="DPPO",
  family="surrogates",
  equation="-sg(min(r, 20)) A log pi while |pi - pi_old| is small",
  files=("objectives/dppo.py",),
  paper="2602.04879",
  statistics="none",
  claim="none",
  measured="-0.7 ± 0.3",
  settings={
    "objective": ("dppo",),
    "advantage": ("dr_grpo",),
    "aggregation": "seq-mean-token-sum-norm",
  },
  why="no claim about entropy against GRPO",
)
get_config = METHOD.get_config
