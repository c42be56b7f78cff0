"""SIREN: the entropy of likely tokens is held where the base has it.

    python -m entrojax.main --config=configs/siren.py --workdir=runs/siren

arXiv 2509.25133. The released script has the same numbers: top-p 0.8, a fifth
of the tokens of each response, and a coefficient of 0.005. siren.anchor is what
siren/entropy is at the first update. A run from another model, or on another
task, needs its own.

Time: about 3 to 5 minutes on two cores, as `configs/siren.py:demo`.
Claim: the entropy falls less, and does not explode as under an entropy bonus.
Measured (`python -m experiments.directions --batches=12`, with the anchor set
to 1.3 nats): after the updates of one rollout batch, entropy minus GRPO's is
+0.2 ± 0.0 millinats per token: as the paper claims.

Deviation: the released script names a clip range of 0.28. Here it is 0.2, as
under GRPO, so that the penalty alone makes the difference. With 0.28 on both
sides the same measurement gives -0.7 ± 0.3.
"""

from configs import Method

METHOD = Method(
  title="SIREN",
  family="entropy bonuses and targets",
  equation="coef (h - anchor)^2, h = top-p entropy of peak tokens",
  files=("objectives/siren.py", "entropy/nucleus.py"),
  paper="2509.25133",
  statistics="mini-batch",
  claim="falls less",
  measured="+0.2 ± 0.0",
  settings={"objective": ("ppo_clip", "siren")},
  on={
    "countdown": {"siren": {"anchor": 0.98}},
    "logic": {"siren": {"anchor": 0.18}},
    "reasoning": {"siren": {"anchor": 0.74}},
  },
  origins={
    "countdown": "Measured: siren/entropy at the first update from this base.",
    "logic": "Measured: siren/entropy of the first four updates, 0.179 nats.",
    "reasoning": (
      "Measured: siren/entropy of the first four updates, 0.738 nats."
    ),
  },
  direction=1,
  overrides={"siren.anchor": 1.3},
  why="an anchor above the base's 0.98 nats: entropy is too low",
)
get_config = METHOD.get_config
