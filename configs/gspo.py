"""GSPO: one importance ratio for a whole sequence (arXiv 2507.18071).

    python -m entrojax.main --config=configs/gspo.py --workdir=runs/gspo

Time: about 3 to 5 minutes on two cores, as `configs/gspo.py:demo`.
Claim: the entropy falls.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -1.1 ± 0.4 millinats per token: there
is no claim against GRPO.
"""

from configs import Method

METHOD = Method(
  title="GSPO",
  family="surrogates",
  equation="one ratio per sequence",
  files=("objectives/gspo.py",),
  paper="2507.18071",
  statistics="sequence",
  claim="falls",
  measured="-1.1 ± 0.4",
  settings={"objective": ("gspo",), "aggregation": "seq-mean-token-mean"},
  on={"countdown": {"gspo": {"clip_low": 0.03, "clip_high": 0.04}}},
  origins={
    "countdown": (
      "Guess: 100 times the paper's clip range, because the learning rate is "
      "far above a large model's and moves the ratios further. After 200 "
      "rollout steps the entropy is 0.362 nats, under GRPO 0.343 (seed 0)."
    ),
  },
  why="no claim about entropy against GRPO",
)
get_config = METHOD.get_config
