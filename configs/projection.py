r"""GRPO with the entropy-projected update (entrojax/update/projection.py).

    python -m entrojax.main --config=configs/projection.py \
        --workdir=runs/projection

Each finished optimizer step is corrected so that its first-order change of the
entropy is at least a prescribed one. The method is ours.

Time: about 3 to 5 minutes on two cores, as `configs/projection.py:demo`.
Claim: the entropy is kept from falling below projection.target; steps that
raise it are left alone.
Measured: not yet. With the entropy's gradient from the step's own tokens, as
it was before, entropy minus GRPO's was +5.0 ± 0.9 millinats per token after the
updates of one rollout batch (`python -m experiments.directions --batches=12`).
The first update after the start is not corrected, so that this comparison, from
a cold optimizer, does not suit the average over updates.
"""

from configs import Method

METHOD = Method(
  title="entropy-projected update",
  family="an entropy that is held",
  equation="step + lambda D g, so that H changes as prescribed",
  files=("update/projection.py",),
  paper="ours",
  statistics="mini-batch",
  claim="falls less below a target",
  measured="not yet",
  settings={"projection": {"enabled": True}},
  on={
    "countdown": {"projection": {"target": 0.5}},
    "logic": {"projection": {"target": 0.15}},
  },
  direction=1,
)
get_config = METHOD.get_config
