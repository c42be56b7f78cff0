"""CISPO: REINFORCE with clipped ratios as constant weights.

    python -m entrojax.main --config=configs/cispo.py --workdir=runs/cispo

arXiv 2506.13585.

Time: about 3 to 5 minutes on two cores, as `configs/cispo.py:demo`.
Claim: the entropy falls less than under GRPO, because rare tokens keep their
gradient.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -1.9 ± 0.9 millinats per token: one
batch does not tell it from GRPO.
"""

from configs import Method

METHOD = Method(
  title="CISPO",
  family="surrogates",
  equation="-sg(clip r) A log pi",
  files=("objectives/cispo.py",),
  paper="2506.13585",
  statistics="none",
  claim="falls less",
  measured="-1.9 ± 0.9",
  settings={"objective": ("cispo",)},
  direction=1,
)
get_config = METHOD.get_config
