r"""80/20: learn from the fifth of tokens of highest entropy.

    python -m entrojax.main --config=configs/top_entropy.py \
        --workdir=runs/top_entropy

arXiv 2506.01939. On Clip-Higher with a dual clip of 10, as in the paper.

Time: about 3 to 5 minutes on two cores, as `configs/top_entropy.py:demo`.
Claim: the entropy falls less than under Clip-Higher alone. It is compared with
GRPO here.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +3.3 ± 1.9 millinats per token: one
batch does not tell it from GRPO.
"""

from configs import Method

METHOD = Method(
  title="80/20",
  family="choice and weight of tokens",
  equation="loss on the fifth of tokens of highest H",
  files=("objectives/top_entropy.py",),
  paper="2506.01939",
  statistics="mini-batch",
  claim="falls less",
  measured="+3.3 ± 1.9",
  settings={
    "objective": ("ppo_clip", "top_entropy"),
    "ppo_clip": {"clip_high": 0.28, "dual_clip": 10.0},
  },
  direction=1,
)
get_config = METHOD.get_config
