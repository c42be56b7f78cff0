"""SAPO: a smooth gate in place of PPO's clip (arXiv 2511.20347).

    python -m entrojax.main --config=configs/sapo.py --workdir=runs/sapo

Time: about 3 to 5 minutes on two cores, as `configs/sapo.py:demo`.
Claim: the paper claims nothing of the entropy. Training stays stable for
longer.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -1.9 ± 0.6 millinats per token.
"""

from configs import Method

METHOD = Method(
  title="SAPO",
  family="surrogates",
  equation="-A (4 / tau) sigmoid(tau (r - 1)), tau by the sign of A",
  files=("objectives/sapo.py",),
  paper="2511.20347",
  statistics="none",
  claim="none",
  measured="-1.9 ± 0.6",
  settings={"objective": ("sapo",), "aggregation": "seq-mean-token-mean"},
  why="no claim about entropy against GRPO",
)
get_config = METHOD.get_config
