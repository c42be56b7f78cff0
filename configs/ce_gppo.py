"""CE-GPPO: clipped tokens keep a bounded gradient (arXiv 2509.20712).

    python -m entrojax.main --config=configs/ce_gppo.py --workdir=runs/ce_gppo

Time: about 3 to 5 minutes on two cores, as `configs/ce_gppo.py:demo`.
Claim: the entropy falls less than under GRPO; a larger beta_high raises it, a
larger beta_low lowers it.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -1.6 ± 0.8 millinats per token: one
batch does not tell it from GRPO.
"""

from configs import Method

METHOD = Method(
  title="CE-GPPO",
  family="surrogates",
  equation="clipped tokens keep a bounded gradient",
  files=("objectives/ce_gppo.py",),
  paper="2509.20712",
  statistics="none",
  claim="falls less",
  measured="-1.6 ± 0.8",
  settings={"objective": ("ce_gppo",)},
  direction=1,
)
get_config = METHOD.get_config
