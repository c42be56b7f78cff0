"""LUSPO: GSPO whose sequences count by their length (arXiv 2602.05261).

    python -m entrojax.main --config=configs/luspo.py --workdir=runs/luspo

Time: about 3 to 5 minutes on two cores, as `configs/luspo.py:demo`.
Claim: the paper claims nothing of the entropy. Responses do not become shorter.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -1.5 ± 0.4 millinats per token.
"""

from configs import Method

METHOD = Method(
  title="LUSPO",
  family="surrogates",
  equation="GSPO's loss times the length",
  files=("objectives/gspo.py",),
  paper="2602.05261",
  statistics="sequence",
  claim="none",
  measured="-1.5 ± 0.4",
  settings={"objective": ("luspo",), "aggregation": "seq-mean-token-sum"},
  on={"countdown": {"luspo": {"clip_low": 0.03, "clip_high": 0.04}}},
  origins={
    "countdown": "As configs/gspo.py: 100 times the paper's clip range.",
  },
  why="no claim about entropy against GRPO",
)
get_config = METHOD.get_config
