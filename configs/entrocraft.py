r"""Entrocraft: outside an entropy band, reject one sign of advantage.

    python -m entrojax.main --config=configs/entrocraft.py \
        --workdir=runs/entrocraft

arXiv 2604.26326. The band lies around this base's entropy of 0.51 nats and
moves down by 0.1 over the run.

Time: about 3 to 5 minutes on two cores, as `configs/entrocraft.py:demo`.
Claim: the entropy follows the band.
Measured (`python -m experiments.directions --batches=12`, with the band at 0.8
to 0.9 nats): after the updates of one rollout batch, entropy minus GRPO's is
+6.5 ± 1.2 millinats per token: as the paper claims.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = countdown.get_config(preset)
  config.advantage = ("grpo", "entrocraft")
  config.entrocraft.update(
    {"low": (0.5, 0.4), "high": (0.55, 0.45), "anneal_steps": 600}
  )
  return config
