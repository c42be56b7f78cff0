"""Record the metrics of the first rollout step of configs/grpo.py:test.

    python -m tests.helpers.first_step

writes tests/goldens/first_step.json. A test in tests/test_train.py compares a
first step with this file: a change of what the step computes shows up in its
loss, gradient norm, entropy, rewards or lengths. If a change is intended, write
the file again.
"""

import json
from pathlib import Path
import tempfile

from configs import grpo
from entrojax.train import train
from tests.helpers.paths import GOLDENS
from tests.helpers.system import numbers

FILE = GOLDENS / "first_step.json"
NAMES = (
  "actor/entropy",
  "actor/grad_norm",
  "actor/loss",
  "critic/rewards/mean",
  "response_length/mean",
  "rollout/tokens",
)


def first_step(workdir: Path) -> dict[str, float]:
  """Return the metrics of the first rollout step."""
  config = grpo.get_config("test")
  config.mesh = (1, 1, 1)
  config.num_rollout_steps = 1
  config.task.train_split = "train"
  train(config, workdir)
  row = numbers(workdir)[1]
  return {name: row[name] for name in NAMES}


if __name__ == "__main__":
  with tempfile.TemporaryDirectory() as folder:
    text = json.dumps(first_step(Path(folder) / "run"), indent=2)
  FILE.write_text(text + "\n")
  print(text)
