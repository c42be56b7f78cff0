"""SIREN: the entropy of likely tokens is held where the base has it.

    python -m entrojax.main --config=configs/siren.py --workdir=runs/siren

arXiv 2509.25133. The paper's settings: top-p 0.8, a fifth of the tokens of each
response, coefficient 0.005, and clipping at 0.28 on both sides. siren.anchor is
what siren/entropy is at the first update from this base; a run from another
model needs its own.

Time: about 3 to 5 minutes on two cores, as `configs/siren.py:demo`.
Claim: the entropy falls less, and does not explode as under an entropy bonus.
Measured (`python -m experiments.directions --batches=12`): TODO.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "siren")
  config.ppo_clip.clip_low = 0.28
  config.ppo_clip.clip_high = 0.28
  config.siren.anchor = 0.98
  return config
