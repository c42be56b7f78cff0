r"""A small sweep to try the command: two methods, two seeds each.

    python -m entrojax.sweep --config=configs/sweeps/quick.py \
        --workdir=runs/quick

A unit has two tiny rollout steps on Countdown, so its numbers mean nothing.

Time: about a minute on two cores, most of it for compilation: units that
differ only in their seed share compiled graphs.
"""

from ml_collections import ConfigDict as Config

from configs import countdown


def get_config() -> Config:
  """Return the settings on which both methods build."""
  return countdown.get_config("test")


def get_hyper(hyper):
  """List the units: each method with each seed."""
  return hyper.product(
    [
      hyper.sweep("config", ["configs/grpo.py:test", "configs/kl_cov.py:test"]),
      hyper.sweep("config.seed", range(2)),
    ]
  )
