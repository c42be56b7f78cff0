r"""Clip-Higher: a wider upper clip lets rare tokens grow (arXiv 2503.14476).

    python -m entrojax.main --config=configs/clip_higher.py \
        --workdir=runs/clip_higher

DAPO's sec. 3.1, with its dual clip of 10.

Time: about 3 to 5 minutes on two cores, as `configs/clip_higher.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.2 ± 0.2 millinats per token: one
batch does not tell it from GRPO.
"""

from configs import Method

METHOD = Method(
  title="Clip-Higher",
  family="surrogates",
  equation="clip(r, 1 - 0.2, 1 + 0.28)",
  files=("objectives/ppo.py",),
  paper="2503.14476",
  statistics="none",
  claim="falls less",
  measured="+0.2 ± 0.2",
  settings={"ppo_clip": {"clip_high": 0.28, "dual_clip": 10.0}},
  direction=1,
)
get_config = METHOD.get_config
