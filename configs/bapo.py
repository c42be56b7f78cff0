"""BAPO: clip bounds that move until right and wrong tokens are in balance.

    python -m entrojax.main --config=configs/bapo.py --workdir=runs/bapo

arXiv 2510.18927. The bounds are taken from the released example: the lower one
moves from 0.8 to 0.95, then the upper one from 1.2 to 2, until right tokens
weigh half as much as wrong ones.

Time: about 3 to 5 minutes on two cores, as `configs/bapo.py:demo`.
Claim: the entropy falls less than under GRPO with off-policy updates.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.0 ± 0.0 millinats per token: its
bounds do not move in them.
"""

from configs import Method

METHOD = Method(
  title="BAPO",
  family="surrogates",
  equation="PPO whose clip bounds move until sum A+ r >= 0.5 sum |A-| r",
  files=("objectives/bapo.py",),
  paper="2510.18927",
  statistics="mini-batch",
  claim="falls less",
  measured="+0.0 ± 0.0",
  settings={"objective": ("bapo",)},
  direction=1,
)
get_config = METHOD.get_config
