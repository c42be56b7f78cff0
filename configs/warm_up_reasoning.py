r"""The supervised warm-up of a base that writes its search for a target.

    python -m entrojax.sft --config=configs/warm_up_reasoning.py \
        --output=runs/reasoning

A model of 1,184,640 parameters learns traces of a randomised search on
Countdown with working (entrojax/tasks/countdown_traces.py). They contain right
and wrong turns, take-backs and answers in haste, so the base that has learnt
them knows all of this and is good at none of it.

Time: about 75 minutes on two idle cores, at 5,800 tokens per second.
Expected, on 256 held-out problems at temperature 1: pass@1 between 0.15 and
0.40, pass@64 at least 0.90, responses of 30 to 120 tokens on average, an
entropy of 0.2 to 0.8 nats per token, of which the fifth of tokens with the
highest entropy carries at least 70 %.
Measured: not recorded yet. These figures are printed by

    python -m entrojax.evaluate_model --config=configs/reasoning.py \
        --config.model.path=runs/reasoning --output=evaluations/reasoning \
        --task='countdown_steps:validation[:256]'
"""

from ml_collections import ConfigDict as Config

from configs import sft
from entrojax.tasks import countdown_steps


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
