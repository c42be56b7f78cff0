r"""GRPO with an entropy bonus of constant strength.

    python -m entrojax.main --config=configs/entropy_bonus.py \
        --workdir=runs/entropy_bonus

A3C, arXiv 1602.01783, sec. 4.

Time: about 3 to 5 minutes on two cores, as `configs/entropy_bonus.py:demo`.
Claim: the entropy falls less than without the bonus, or grows without bound if
the bonus is too large.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.5 ± 0.0 millinats per token: as
claimed.
"""

from configs import Method

METHOD = Method(
  title="entropy bonus",
  family="entropy bonuses and targets",
  equation="-coef H",
  files=("objectives/entropy_bonus.py",),
  paper="1602.01783",
  statistics="none",
  claim="falls less",
  measured="+0.5 ± 0.0",
  settings={"objective": ("ppo_clip", "entropy_bonus")},
  on={"countdown": {"entropy_bonus": {"entropy_coef": 5e-3}}},
  origins={
    "countdown": (
      "Guess: five times the default. After 200 rollout steps the entropy is "
      "0.372 nats, under GRPO 0.343 (seed 0)."
    ),
  },
  direction=1,
)
get_config = METHOD.get_config
