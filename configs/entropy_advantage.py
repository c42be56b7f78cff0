r"""Entropy as advantage: GRPO with a bonus for uncertain tokens.

    python -m entrojax.main --config=configs/entropy_advantage.py \
        --workdir=runs/entropy_advantage

arXiv 2506.14758.

Time: about 3 to 5 minutes on two cores, as `configs/entropy_advantage.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -1.1 ± 0.5 millinats per token: the
opposite of the claim.
"""

from configs import Method

METHOD = Method(
  title="entropy as advantage",
  family="choice and weight of tokens",
  equation="A + min(0.4 H, |A| / 2)",
  files=("objectives/entropy_advantage.py",),
  paper="2506.14758",
  statistics="none",
  claim="falls less",
  measured="-1.1 ± 0.5",
  settings={"objective": ("ppo_clip", "entropy_advantage")},
  direction=1,
)
get_config = METHOD.get_config
