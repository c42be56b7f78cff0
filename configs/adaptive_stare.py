r"""STARE with adaptive weights of rare tokens (arXiv 2606.19236).

    python -m entrojax.main --config=configs/adaptive_stare.py \
        --workdir=runs/adaptive_stare

A controller raises the weight by 0.01 per update while the entropy is below the
target and lowers it while the entropy is above. The surrogate is Clip-Higher.

Time: about 3 to 5 minutes on two cores, as `configs/adaptive_stare.py:demo`.
Claim: once the entropy is below control.target, it falls less than under
configs/stare.py.
Measured (`python -m experiments.directions --batches=12`, with the target set
to 0.8 nats): after the updates of one rollout batch, entropy minus GRPO's is
+0.8 ± 0.2 millinats per token: higher than under GRPO, as claimed.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.objective = ("ppo_clip", "adaptive_stare")
  config.ppo_clip.clip_high = 0.28
  config.control.update({"name": "stare_weights", "target": 0.3})
  return config
