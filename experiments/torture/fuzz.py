"""Set settings of a config to odd values, and check it as a run would.

A config is accepted, or refused with one line; anything else is a traceback
that a user would see. A list of senseless settings must each be refused or
warned about.
"""

import contextlib
from pathlib import Path
import random
from typing import Any
import warnings

from ml_collections import ConfigDict as Config

from configs import countdown
from entrojax.assembly.check_run import check_run
from experiments.torture.score import Score, one_line

_NUMBERS = (0, 1, -1, 2, 3, 7, 2**31, 10**12, -(10**12), 10**20)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-30, 1e30, 1e308)
_FLOATS_ODD = (float("nan"), float("inf"), float("-inf"))
_TEXTS = ("", " ", "x", "grpo", "..", "a:b", "\x1b[31m", "linear(1, 0, 9)")
_TUPLES = ((), (1,), ("x",), ("grpo", "grpo"), (0, 0, 0), (1, 2, 3, 4))

# each must be refused or warned about
SENSELESS: tuple[dict[str, Any], ...] = (
  {"evaluation.split": "train[:8]"},
  {
    "control.name": "entropic_pi",
    "objective": ("ppo_clip", "entropic"),
    "control.target": 100.0,
  },
  {"optimizer.warmup_steps": 1000},
  {"optimizer.end_fraction": 2.0},
  {"lora.rank": 100_000},
  {"rollout.num_prompts": 10**12},
  {"rollout.prompt_length": 10**12},
  {"seed": 10**20},
  {"model.dtype": "float7"},
  {"mesh": ("a", 1, 1)},
  {"task.train_split": "train[5:2]"},
  {"evaluation.temperature": 0.0, "evaluation.num_samples": 5},
  {"evaluation.temperature": 0.5},
  {
    "objective": ("ppo_clip", "reference_kl"),
    "reference_kl.estimator": "k1",
  },
  {"dynamic_sampling.low": 0.9, "dynamic_sampling.high": 0.1},
  {"control.target": 0.3},
)


def torture(draw: random.Random, count: int, folder: Path) -> list[Score]:
  """Check `count` configs with one to three odd settings."""
  # paths among the odd values lie in the folder
  with contextlib.chdir(folder):
    return _torture(draw, count)


def _torture(draw: random.Random, count: int) -> list[Score]:
  fuzzed, refused = [], 0
  keys = sorted(_leaves(_config()))
  for _ in range(count):
    changes = {
      key: _odd_value(_leaves(_config())[key], draw)
      for key in draw.sample(keys, draw.randint(1, 3))
    }
    text, ended = _check(changes)
    refused += ended
    fuzzed += [f"{changes}: {text}"] if text else []
  senseless = []
  for changes in SENSELESS:
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter("always")
      text, ended = _check(changes)
    if text or not (ended or caught):
      senseless.append(f"{changes}: {text or 'accepted without a word'}")
  return [
    Score(
      "odd settings: accepted, or one line",
      count,
      fuzzed,
      [f"{refused} of them were refused"],
    ),
    Score(
      "senseless settings: refused or warned about", len(SENSELESS), senseless
    ),
  ]


def _config() -> Config:
  """Return the config that is changed."""
  config = countdown.get_config("test")
  config.mesh = (1, 1, 1)
  return config


def _leaves(config: Config, prefix: str = "") -> dict[str, Any]:
  """Return the settings of a config by 'section.leaf'."""
  leaves: dict[str, Any] = {}
  for name in config:
    if isinstance(config[name], Config):
      leaves |= _leaves(config[name], f"{prefix}{name}.")
    else:
      leaves[f"{prefix}{name}"] = config[name]
  return leaves


def _odd_value(value: Any, draw: random.Random) -> Any:
  """Draw a value of the type of a setting, or of another type."""
  pools: dict[type, tuple] = {
    bool: (True, False),
    int: _NUMBERS,
    float: (*_FLOATS, *_FLOATS_ODD),
    str: _TEXTS,
    tuple: _TUPLES,
  }
  pool = pools.get(type(value), (*_NUMBERS, *_FLOATS, *_TEXTS))
  return draw.choice(pool)


def _check(changes: dict[str, Any]) -> tuple[str, bool]:
  """Check a config; return what is wrong, and whether it was refused."""
  config = _config()
  try:
    config.update_from_flattened_dict(changes)
  except (TypeError, ValueError):
    return "", True  # the command line refuses another type in one line
  try:
    check_run(config)
  except Exception as error:
    return one_line(error), True
  return "", False
