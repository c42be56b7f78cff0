"""GRPO on arithmetic chains, from the small base `bases/logic`.

    python -m entrojax.main --config=configs/logic.py --workdir=runs/logic

The base starts with an entropy of 0.16 nats per token on this task, a third of
Countdown's, so that methods with a target have another one here. The offline
methods, configs/bcpg.py and configs/bcpg_nsa.py, build on these settings.

Time: not recorded.
Measured: not recorded.
"""

from ml_collections import ConfigDict as Config

from configs import Testbed, run_length


def settings(config: Config) -> dict:
  """Return the settings, with a learning rate that decays until the end."""
  return {
    "num_rollout_steps": 160,
    "model": {"path": "bases/logic"},
    "task": {"name": "arithmetic_chain", "difficulty": 3},
    "rollout": {
      "num_prompts": 32,
      "group_size": 8,
      "prompt_length": 12,
      "response_length": 22,
    },
    "training": {"updates_per_rollout": 4, "rematerialise": False},
    "optimizer": {
      "learning_rate": 1e-4,
      "decay_steps": run_length(config),
      "end_fraction": 0.5,
      "b2": 0.99,
    },
    "evaluation": {
      "split": "validation",
      "num_samples": 16,
      "prompts_per_batch": 32,
    },
  }


TESTBED = Testbed(
  settings=settings,
  presets={
    "demo": {},
    "test": {
      "num_rollout_steps": 2,
      "rollout": {"num_prompts": 8, "group_size": 4},
      "evaluation": {
        "split": "validation[:8]",
        "num_samples": 4,
        "prompts_per_batch": 8,
      },
      "log": {"every": 1},
    },
  },
  numbers=("countdown", "logic"),
)
get_config = TESTBED.get_config
