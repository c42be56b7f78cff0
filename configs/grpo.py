"""GRPO with a token-mean loss, the baseline (arXiv 2402.03300).

    python -m entrojax.main --config=configs/grpo.py --workdir=runs/grpo

A = (R - mean) / std over the group, PPO's clipped loss.

Time: about 3.5 minutes on two cores, as `configs/grpo.py:demo`.
Claim: the entropy falls.
Measured (`make demo`, 256 held-out prompts, before -> after): entropy 0.51 ->
0.24 nats per token, pass@1 0.228 -> 0.385, pass@64 0.961 -> 0.797. By
`python -m experiments.directions --batches=12`, the updates of one rollout
batch change the entropy by -11.3 ± 1.7 millinats per token.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  return countdown.get_config(preset)
