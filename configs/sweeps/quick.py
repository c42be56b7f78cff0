r"""A small sweep to try the command: two methods, two seeds each.

    python -m entrojax.sweep --config=configs/sweeps/quick.py \
        --workdir=runs/quick

A unit has two tiny rollout steps on Countdown, so its numbers mean nothing.

Time: not recorded.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config() -> Config:
  """Return the settings that units without a config of their own begin with."""
  return countdown.get_config("test")


def get_hyper(hyper):
  """List the units: each method with each seed."""
  return hyper.product(
    [
      hyper.sweep("config", ["configs/grpo.py:test", "configs/kl_cov.py:test"]),
      hyper.sweep("config.seed", range(2)),
    ]
  )
