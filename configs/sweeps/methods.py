r"""All methods on Countdown, three seeds each.

    python -m entrojax.sweep --config=configs/sweeps/methods.py \
        --workdir=runs/methods --jobs=2

Each unit is a method's config with its preset `demo`; GRPO is the baseline. The
offline methods are left out, and so is configs/sent.py, which needs a table of
prompts that another command makes: configs/sent_token.py has its loss without
the curriculum.

    --unit=I or --shard=I/N runs a part, for example as a Slurm array
    --config.num_rollout_steps=100 shortens all units

Time: 159 units of about 3 to 5 minutes each on two cores; `--dry_run` estimates
it for this machine.
Measured: experiments/tournament/README.md, with 200 rollout steps.
"""

from ml_collections import ConfigDict as Config

import configs
from configs import countdown

LEFT_OUT = ("sent",)
METHODS = [
  name
  for name, method in configs.methods().items()
  if method.testbed == "countdown" and name not in LEFT_OUT
]
NUM_SEEDS = 3


def get_config() -> Config:
  """Return the settings on which all methods build."""
  return countdown.get_config("demo")


def get_hyper(hyper):
  """List the units: each method with each seed."""
  return hyper.product(
    [
      hyper.sweep("config", [f"configs/{name}.py:demo" for name in METHODS]),
      hyper.sweep("config.seed", range(NUM_SEEDS)),
    ]
  )
