r"""W-REINFORCE: right responses weigh a tenth of wrong ones.

    python -m entrojax.main --config=configs/w_reinforce.py \
        --workdir=runs/w_reinforce

arXiv 2506.01347. No baseline and no dual clip; an entropy bonus of 1e-4, as in
the paper.

Time: about 3 to 5 minutes on two cores, as `configs/w_reinforce.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +6.6 ± 1.8 millinats per token: as
the paper claims.
"""

from configs import Method

METHOD = Method(
  title="W-REINFORCE",
  family="rewards and advantages",
  equation="A = 0.1 if right, -1 if wrong",
  files=("advantages/decomposed.py",),
  paper="2506.01347",
  statistics="none",
  claim="falls less",
  measured="+6.6 ± 1.8",
  settings={
    "advantage": ("w_reinforce",),
    "objective": ("ppo_clip", "entropy_bonus"),
    "entropy_bonus": {"entropy_coef": 1e-4},
    "ppo_clip": {"dual_clip": None},
  },
  direction=1,
)
get_config = METHOD.get_config
