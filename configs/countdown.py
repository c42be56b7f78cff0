"""GRPO on Countdown, from the base model that ships with entrojax.

    python -m entrojax.main --config=configs/countdown.py --workdir=runs/grpo

This is the testbed of the methods' configs: `configs/countdown.py:clip_cov` is
configs/clip_cov.py. Without a method it is GRPO (arXiv 2402.03300), whose time
and result configs/grpo.py has.

Presets are chosen by a colon, as in `--config=configs/countdown.py:demo`:
  (none)  600 rollout steps, 256 samples for each of 256 held-out prompts
  demo    the budget of `make demo`: the same, with 64 samples instead of 256
  test    two tiny steps, for tests
"""

from ml_collections import ConfigDict as Config

from configs import Testbed, run_length


def settings(config: Config) -> dict:
  """Return the settings, with a learning rate that decays until the end."""
  return {
    "num_rollout_steps": 600,
    "model": {"path": "bases/countdown"},
    "task": {"name": "countdown"},
    "rollout": {
      "num_prompts": 32,
      "group_size": 8,
      "prompt_length": 11,
      "response_length": 12,
    },
    "training": {"updates_per_rollout": 4, "rematerialise": False},
    "optimizer": {
      "learning_rate": 1.6e-4,
      "decay_steps": run_length(config),
      "end_fraction": 0.1,
      "b2": 0.99,
    },
    "checkpoint": {"every": 100},
    "evaluation": {
      "split": "validation[:256]",
      "num_samples": 256,
      "prompts_per_batch": 4,
    },
  }


TESTBED = Testbed(
  settings=settings,
  presets={
    "demo": {
      "evaluation": {
        "num_samples": 64,
        "prompts_per_batch": 16,
        "token_samples": 2,
      }
    },
    "test": {
      "num_rollout_steps": 2,
      "task": {"train_split": "train[:512]"},
      "rollout": {"num_prompts": 8, "group_size": 4},
      "training": {"updates_per_rollout": 2},
      "evaluation": {
        "split": "validation[:8]",
        "num_samples": 4,
        "prompts_per_batch": 8,
      },
      "log": {"every": 1},
    },
  },
  numbers=("countdown",),
)
get_config = TESTBED.get_config
