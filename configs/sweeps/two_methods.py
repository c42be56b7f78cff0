r"""GRPO and EntroPIC with three seeds each, for colab/sweep.ipynb.

    python -m entrojax.sweep --config=configs/sweeps/two_methods.py \
        --workdir=runs/two_methods --config.num_rollout_steps=80

Each unit is a method's config with its preset `demo`, on Countdown.

Time: about 20 minutes on two cores, and about four with 80 rollout steps.
Measured: experiments/RESULTS.md has three seeds of both methods, EntroPIC with
a target of 0.36 nats instead of the 0.5 of its config.
"""

from ml_collections import ConfigDict as Config

from configs import countdown

METHODS = ("grpo", "entropic")
NUM_SEEDS = 3


def get_config() -> Config:
  """Return the settings on which both methods build."""
  return countdown.get_config("demo")


def get_hyper(hyper):
  """List the units: each method with each seed."""
  return hyper.product(
    [
      hyper.sweep("config", [f"configs/{name}.py:demo" for name in METHODS]),
      hyper.sweep("config.seed", range(NUM_SEEDS)),
    ]
  )
