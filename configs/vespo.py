"""VESPO: REINFORCE with smooth weights of sequences (arXiv 2602.10693).

    python -m entrojax.main --config=configs/vespo.py --workdir=runs/vespo

Time: about 3 to 5 minutes on two cores, as `configs/vespo.py:demo`.
Claim: the paper claims nothing of the entropy. Training stays stable with stale
rollouts.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -1.3 ± 0.4 millinats per token.
"""

from configs import Method

METHOD = Method(
  title="VESPO",
  family="surrogates",
  equation="-sg(phi(w)) A log pi, phi = w^k exp(l (1 - w)), w = product of r",
  files=("objectives/vespo.py",),
  paper="2602.10693",
  statistics="sequence",
  claim="none",
  measured="-1.3 ± 0.4",
  settings={"objective": ("vespo",)},
  why="no claim about entropy against GRPO",
)
get_config = METHOD.get_config
