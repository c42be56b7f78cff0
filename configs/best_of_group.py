r"""Only the best response of a group learns (arXiv 2503.19595).

    python -m entrojax.main --config=configs/best_of_group.py \
        --workdir=runs/best_of_group

verl's grpo_passk.

Time: about 3 to 5 minutes on two cores, as `configs/best_of_group.py:demo`.
Claim: the paper claims nothing of the entropy. pass@k is higher.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +3.7 ± 2.4 millinats per token.
"""

from configs import Method

METHOD = Method(
  title="pass@G by the best response",
  family="rewards and advantages",
  equation="A = best - second best",
  files=("advantages/pass_at_k.py",),
  paper="2503.19595",
  statistics="group",
  claim="none",
  measured="+3.7 ± 2.4",
  settings={"advantage": ("best_of_group",)},
  why="no claim about entropy against GRPO",
)
get_config = METHOD.get_config
