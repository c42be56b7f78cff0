"""BCPG-NSA: punish right steps of wrong responses less (arXiv 2505.14403).

    python -m entrojax.main --config=configs/bcpg_nsa.py --workdir=runs/bcpg_nsa

The task's exact oracle judges the steps of wrong responses. A step of an
arithmetic chain ends with a semicolon.

Time: not recorded.
Claim: none about the entropy; a higher accuracy than under BCPG.
Measured (configs/sweeps/negative_samples.py, seeds 0 and 1): pass@1 0.383 ->
0.512 and 0.524, BCPG's being 0.520 and 0.525. From a weaker base, with three
seeds, pass@1 exceeds BCPG's by 0.0040 ± 0.0012, and on the base that writes its
search (preset `reasoning`) by 0.0076 ± 0.0031 (experiments/RESULTS.md).

It has the presets of configs/bcpg.py.
"""

from ml_collections import ConfigDict as Config

from configs import Method, bcpg


def settings(config: Config) -> dict:
  """Return BCPG's settings, with a judge of steps."""
  return {
    **bcpg.settings(config),
    "objective": ("bcpg", "negative_sample_augmentation"),
    "judges": ("oracle",),
    "rules": {"min_length": 1, "separators": (";",)},
  }


METHOD = Method(
  title="BCPG-NSA, offline",
  family="recipes and offline",
  equation="beta A on right steps of wrong responses",
  files=(
    "objectives/negative_sample_augmentation.py",
    "judges/",
    "judges/segmentation.py",
  ),
  paper="2505.14403",
  statistics="sequence",
  claim="none",
  measured="offline, not compared",
  settings=settings,
  on=bcpg.ON,
  origins=bcpg.ORIGINS,
  testbed="logic",
)
get_config = METHOD.get_config
