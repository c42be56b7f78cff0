r"""Pass@k training: GRPO on sets of k responses (arXiv 2508.10751).

    python -m entrojax.main --config=configs/pass_at_k.py \
        --workdir=runs/pass_at_k

Time: about 3 to 5 minutes on two cores, as `configs/pass_at_k.py:demo`.
Claim: the entropy falls less than under GRPO.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -0.3 ± 1.1 millinats per token: one
batch does not tell it from GRPO.
"""

from configs import Method

METHOD = Method(
  title="Pass@k training",
  family="rewards and advantages",
  equation="analytic advantages of sets of k",
  files=("advantages/pass_at_k.py",),
  paper="2508.10751",
  statistics="group",
  claim="falls less",
  measured="-0.3 ± 1.1",
  settings={"advantage": ("pass_at_k",)},
  direction=1,
)
get_config = METHOD.get_config
