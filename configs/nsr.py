"""NSR: learn from wrong responses alone (arXiv 2506.01347).

    python -m entrojax.main --config=configs/nsr.py --workdir=runs/nsr

No baseline and no dual clip; an entropy bonus of 1e-4, as in the paper.

Time: about 3 to 5 minutes on two cores, as `configs/nsr.py:demo`.
Claim: the entropy falls less than under W-REINFORCE, and so less than under
GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +7.2 ± 1.7 millinats per token: as
the paper claims (against GRPO).
"""

from configs import Method

METHOD = Method(
  title="NSR",
  family="rewards and advantages",
  equation="A = -1 if wrong; right responses are left out",
  files=("advantages/decomposed.py",),
  paper="2506.01347",
  statistics="none",
  claim="falls less",
  measured="+7.2 ± 1.7",
  settings={
    "advantage": ("nsr",),
    "objective": ("ppo_clip", "entropy_bonus"),
    "entropy_bonus": {"entropy_coef": 1e-4},
    "ppo_clip": {"dual_clip": None},
  },
  direction=1,
)
get_config = METHOD.get_config
