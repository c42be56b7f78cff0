"""ERC: tokens whose entropy moved too far stop learning (arXiv 2512.05591).

    python -m entrojax.main --config=configs/erc.py --workdir=runs/erc

Entropy ratio clipping, on Clip-Higher with a dual clip of 10.

Time: about 3 to 5 minutes on two cores, as `configs/erc.py:demo`.
Claim: the entropy falls more slowly than under Clip-Higher alone.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -0.8 ± 0.6 millinats per token: one
batch does not tell it from GRPO.
"""

from configs import Method

METHOD = Method(
  title="entropy ratio clipping",
  family="choice and weight of tokens",
  equation="no gradient where H / H_old leaves a band",
  files=("objectives/erc.py",),
  paper="2512.05591",
  statistics="none",
  claim="falls more slowly",
  measured="-0.8 ± 0.6",
  settings={
    "objective": ("ppo_clip", "erc"),
    "ppo_clip": {"clip_high": 0.28, "dual_clip": 10.0},
  },
  direction=1,
)
get_config = METHOD.get_config
