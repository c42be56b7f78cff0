"""The supervised warm-up of a base like entrojax/bases/countdown.

    python -m entrojax.sft --config=configs/warm_up_countdown.py \
        --output=runs/base

The base that ships was made by an earlier loop, in some 15 minutes on 2 cores:
the same model, problems, tokens a step, steps and optimizer, but examples drawn
with replacement and one a row. Its figures, on 256 held-out prompts at
temperature 1, 256 samples each (mean, standard error over prompts): pass@1
0.226 (0.011), pass@64 0.959 (0.010), pass@256 0.981 (0.009), entropy 0.511 nats
a token, 23.0 distinct right answers; cross-entropy about 0.49 nats a token at
the end. This command packs rows and shows every problem once an epoch, so its
examples come in another order.
"""

from ml_collections import ConfigDict as Config

from configs import sft
from entrojax.tasks import countdown


def get_config() -> Config:
  """Returns the warm-up's settings."""
  config = sft.get_config()
  config.update(
    {
      "num_steps": 3500,
      "new_model": {"characters": countdown.CHARACTERS},
      "sft": {
        "tasks": ("countdown",),
        "row_length": 92,
        "num_rows": 64,  # some 256 examples
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
