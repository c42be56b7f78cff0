"""EntroPIC: a PI controller on policy entropy (arXiv 2511.15248).

    python -m entrojax.main --config=configs/entropic.py --workdir=runs/entropic

Entropy: held at control.target.

Deviation: the released code acts on tokens with pi > 0.95 and counts only those
in the term's denominator, which suits a policy of low entropy. This base is far
above that: the term acts on tokens with pi > 0.5 and its denominator counts all
tokens, so that weights stay in [0, 2].
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.update(
    {
      "objective": ("ppo_clip", "entropic"),
      "entropic": {"min_probability": 0.5, "norm": "all"},
      "control": {"name": "entropic_pi", "target": 0.5},
      "entropic_pi": {"kp": 3.0, "ki": 0.02},
    }
  )
  return config
