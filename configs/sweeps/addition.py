r"""GRPO, EntroPIC and the projection on sums, SmolLM2-135M, with two graders.

    python -m entrojax.sweep --config=configs/sweeps/addition.py \
        --workdir=runs/addition
    python -m entrojax.report runs/addition --output=runs/addition.html

The header of configs/addition.py has the commands that write the model and the
problems. The target of both controlled methods is about half of the base's
entropy. The first half of the units is judged by the last number of a response,
the second by the whole response, which must be a bare number.

Time: six CPU minutes per run of GRPO or EntroPIC, nine of the projection.
Measured: experiments/RESULTS.md, "A real model learns sums".
"""

from ml_collections import ConfigDict as Config

from configs import addition

TARGET = 0.6  # nats per token; the base has 1.2
NUM_SEEDS = 2
GRADERS = ("math/gsm8k", "math/number")
TARGETS = {  # the setting of each method's target
  "entropic": "config.control.target",
  "projection": "config.projection.target",
}


def get_config() -> Config:
  """Return the settings on which all methods build."""
  return addition.get_config()


def get_hyper(hyper):
  """List the units: for each grader and seed, all methods."""
  grpo = hyper.fixed("config", "configs/grpo.py:addition")
  controlled = [
    hyper.product(
      [
        hyper.fixed("config", f"configs/{name}.py:addition"),
        hyper.fixed(target, TARGET),
      ]
    )
    for name, target in TARGETS.items()
  ]
  return hyper.product(
    [
      hyper.sweep("config.task.name", GRADERS),
      hyper.sweep("config.seed", range(NUM_SEEDS)),
      hyper.chainit([grpo, *controlled]),
    ]
  )
