"""PSR: learn from right responses alone (arXiv 2506.01347).

    python -m entrojax.main --config=configs/psr.py --workdir=runs/psr

No baseline and no dual clip; an entropy bonus of 1e-4, as in the paper.

Time: about 3 to 5 minutes on two cores, as `configs/psr.py:demo`.
Claim: the entropy falls faster than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -1.6 ± 1.1 millinats per token: one
batch does not tell it from GRPO.
"""

from configs import Method

METHOD = Method(
  title="PSR",
  family="rewards and advantages",
  equation="A = 1 if right; wrong responses are left out",
  files=("advantages/decomposed.py",),
  paper="2506.01347",
  statistics="none",
  claim="falls faster",
  measured="-1.6 ± 1.1",
  settings={
    "advantage": ("psr",),
    "objective": ("ppo_clip", "entropy_bonus"),
    "entropy_bonus": {"entropy_coef": 1e-4},
    "ppo_clip": {"dual_clip": None},
  },
  direction=-1,
)
get_config = METHOD.get_config
