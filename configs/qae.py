"""QAE: the quantile of a group as its baseline (arXiv 2509.22611).

    python -m entrojax.main --config=configs/qae.py --workdir=runs/qae

Time: about 3 to 5 minutes on two cores, as `configs/qae.py:demo`.
Claim: the entropy neither collapses nor explodes.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -1.5 ± 1.2 millinats per token.
"""

from configs import Method

METHOD = Method(
  title="QAE",
  family="rewards and advantages",
  equation="A = (R - quantile) / std",
  files=("advantages/baselines.py",),
  paper="2509.22611",
  statistics="group",
  claim="bounded on both sides",
  measured="-1.5 ± 1.2",
  settings={"advantage": ("qae",), "ppo_clip": {"clip_high": 0.28}},
  why="the claim has no direction against GRPO",
)
get_config = METHOD.get_config
