"""STEER: damp the tokens that move the entropy most (arXiv 2510.10150).

    python -m entrojax.main --config=configs/steer.py --workdir=runs/steer

On Clip-Higher with a dual clip of 10, as in the paper's scripts.

Time: about 3 to 5 minutes on two cores, as `configs/steer.py:demo`.
Claim: the entropy falls more slowly than under Clip-Higher alone.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.5 ± 0.2 millinats per token: as
the paper claims (against GRPO).
"""

from configs import Method

METHOD = Method(
  title="STEER",
  family="choice and weight of tokens",
  equation="exp(log(w) |W| / max |W|) loss",
  files=("objectives/steer.py",),
  paper="2510.10150",
  statistics="mini-batch",
  claim="falls less",
  measured="+0.5 ± 0.2",
  settings={
    "objective": ("ppo_clip", "steer"),
    "ppo_clip": {"clip_high": 0.28, "dual_clip": 10.0},
    "steer": {"clip_high": 0.28, "dual_clip": 10.0},
  },
  direction=1,
)
get_config = METHOD.get_config
