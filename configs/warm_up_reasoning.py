r"""The supervised warm-up of a base that writes its search for a target.

    python -m entrojax.sft --config=configs/warm_up_reasoning.py \
        --output=runs/reasoning

A model of 1,184,640 parameters learns traces of a randomised search on
Countdown with working (entrojax/tasks/countdown_traces.py). They contain right
and wrong turns, take-backs and answers in haste, so the base that has learnt
them knows all of this and is good at none of it.

Time: 28 minutes on two cores beside other work.
Measured (entrojax/bases/reasoning, 256 held-out problems at temperature 1, 64
responses each): pass@1 0.217, pass@64 0.996, 45 tokens on average, an entropy
of 0.231 nats per token. The fifth of tokens with the highest entropy carries
79 % of it. 60 % of the right responses take a move back. These figures are
printed by

    python -m experiments.search_behaviour --model=base=runs/reasoning
"""

from ml_collections import ConfigDict as Config

from configs import sft
from entrojax.tasks.families import countdown_steps


def get_config() -> Config:
  """Return the settings of the warm-up."""
  config = sft.get_config()
  config.update(
    {
      "num_steps": 1600,
      "new_model": {
        "characters": countdown_steps.CHARACTERS,
        "num_hidden_layers": 6,
      },
      "sft": {
        "tasks": ("countdown_steps",),
        "row_length": 192,
        "num_rows": 48,  # about 150 examples
        "dtype": "bfloat16",
      },
      "training": {"num_microbatches": 4, "rematerialise": False},
      "optimizer": {
        "learning_rate": 2e-3,
        "warmup_steps": 100,
        "decay_steps": 1600,
        "end_fraction": 0.05,
        "b2": 0.98,
        "weight_decay": 0.01,
      },
      "checkpoint": {"every": 250},
      "log": {"every": 50},
    }
  )
  return config
