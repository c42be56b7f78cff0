"""BCPG-NSA: right steps of wrong responses are punished less (2505.14403).

    python -m entrojax.main --config=configs/bcpg_nsa.py --workdir=runs/bcpg_nsa

The task's exact oracle judges the steps of wrong responses; a step of an
arithmetic chain ends with a semicolon.
"""

from ml_collections import ConfigDict as Config

from configs import bcpg


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/bcpg.py."""
  config = bcpg.get_config(preset)
  config.objective = ("bcpg", "negative_sample_augmentation")
  config.judges = ("oracle",)
  config.rules = Config({"min_length": 1, "separators": (";",)})
  return config
