"""GSPO: one ratio for a whole sequence (arXiv 2507.18071).

    python -m entrojax.main --config=configs/gspo.py --workdir=runs/gspo

Entropy: falls.

Deviation: the clip range is 100 times the paper's, as the learning rate here is
far above that of a large model and moves ratios further.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("gspo",)
  config.aggregation = "seq-mean-token-mean"
  config.gspo.update({"clip_low": 0.03, "clip_high": 0.04})
  return config
