"""SIREN: the entropy of likely tokens is held where the base has it.

    python -m entrojax.main --config=configs/siren.py --workdir=runs/siren

arXiv 2509.25133. The released script has the same numbers: top-p 0.8, a fifth
of the tokens of each response, a coefficient of 0.005, and clipping at 0.28 on
both sides. siren.anchor is what siren/entropy is at the first update: a
run from another model, or on another task, needs its own.

Time: about 3 to 5 minutes on two cores, as `configs/siren.py:demo`.
Claim: the entropy falls less, and does not explode as under an entropy bonus.
Measured: not yet.
"""

from configs import Method

METHOD = Method(
  title="SIREN",
  equation="coef (h - anchor)^2, h = top-p entropy of peak tokens",
  files=("objectives/siren.py", "entropy/nucleus.py"),
  paper="2509.25133",
  statistics="mini-batch",
  claim="falls less",
  measured="not measured",
  settings={
    "objective": ("ppo_clip", "siren"),
    "ppo_clip": {"clip_low": 0.28, "clip_high": 0.28},
  },
  on={"countdown": {"siren": {"anchor": 0.98}}},
  direction=1,
  overrides={"siren.anchor": 1.3},
  why="an anchor above the base's 0.98 nats: entropy is too low",
)
get_config = METHOD.get_config
