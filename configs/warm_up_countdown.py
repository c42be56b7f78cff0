r"""The supervised warm-up of a base model like entrojax/bases/countdown.

    python -m entrojax.sft --config=configs/warm_up_countdown.py \
        --output=runs/base

Time: about 15 minutes on two cores, for the earlier training loop that made
entrojax/bases/countdown. It had the same model, problems, tokens per step,
number of steps and optimizer, but drew its examples with replacement and put
one into each row. This command packs several examples into a row and shows
every problem once per epoch, so its examples come in another order.

Measured (entrojax/bases/countdown, 256 held-out prompts at temperature 1, 256
samples each; standard errors are over prompts): pass@1 0.226 ± 0.011, pass@64
0.959 ± 0.010, pass@256 0.981 ± 0.009, entropy 0.511 nats per token, 23.0
distinct right answers per prompt. The cross-entropy at the end of the warm-up
is about 0.49 nats per token.
"""

from ml_collections import ConfigDict as Config

from configs import sft
from entrojax.tasks.families import countdown


def get_config() -> Config:
  """Return the settings of the warm-up."""
  config = sft.get_config()
  config.update(
    {
      "num_steps": 3500,
      "new_model": {"characters": countdown.CHARACTERS},
      "sft": {
        "tasks": ("countdown",),
        "row_length": 92,
        "num_rows": 64,  # about 256 examples
      },
      "training": {"num_microbatches": 4, "rematerialise": False},
      "optimizer": {
        "learning_rate": 2e-3,
        "warmup_steps": 100,
        "decay_steps": 3500,
        "end_fraction": 0.05,
        "b2": 0.98,
        "weight_decay": 0.01,
      },
      "checkpoint": {"every": 500},
      "log": {"every": 100},
    }
  )
  return config
