"""Lp-Reg: rare but sensible tokens of wrong responses are kept.

    python -m entrojax.main --config=configs/lp_reg.py --workdir=runs/lp_reg

arXiv 2510.03222. As in the released script, ratios are clipped to [0, 10], and
the penalty acts on the hundredth of least probable tokens of wrong responses.
With several updates per rollout, the likeliest tokens of the sampling policy
cost one more forward pass of the rollout batch.

Time: about 3 to 5 minutes on two cores, as `configs/lp_reg.py:demo`.
Claim: the entropy does not collapse as under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -0.8 ± 0.7 millinats per token: one
batch does not tell it from GRPO.
"""

from configs import Method

METHOD = Method(
  title="Lp-Reg",
  family="choice and weight of tokens",
  equation="KL to a min-p filtered policy on rare tokens of wrong responses",
  files=("objectives/lp_reg.py",),
  paper="2510.03222",
  statistics="mini-batch",
  claim="falls less",
  measured="-0.8 ± 0.7",
  settings={
    "objective": ("ppo_clip", "lp_reg"),
    "ppo_clip": {"clip_low": 1.0, "clip_high": 9.0, "dual_clip": None},
  },
  on={"countdown": {"lp_reg": {"candidates": 16}}},
  origins={
    "countdown": (
      "Scaled: 16 candidates stand for vocabularies of 22 tokens, and of 70 "
      "on arithmetic chains."
    ),
  },
  direction=1,
)
get_config = METHOD.get_config
