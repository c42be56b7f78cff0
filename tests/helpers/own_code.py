"""A user's own code and data, and configs that name them.

The fixture `own_code` of tests/assembly/conftest.py writes them to a folder.
"""

import json
from pathlib import Path

from configs import default
from entrojax.assembly.data import open_task

MINE = """
import jax.numpy as jnp

from entrojax.arguments import require_at_least
from entrojax.control import no_control
from entrojax.objectives.chain import add_penalty, add_term
from entrojax.types import (
  AdvantageRule, Aggregation, Controller, Objective, StepJudge, Task, Verdict
)
from entrojax import types
from entrojax.traits import ControllerTraits, ObjectiveTraits
from entrojax.judges.segmentation import Segmenter


def loss(*, strength: float = 2.0) -> Objective:
  require_at_least("loss.strength", strength, 0)

  def objective(tokens, token_loss, coefficient, key):
    value = -strength * tokens.advantages * tokens.log_probs
    return add_term(token_loss, value, tokens.mask, {})

  return objective


def penalty() -> Objective:
  return lambda tokens, token_loss, coefficient, key: add_penalty(
    token_loss, -tokens.entropy, tokens.mask, {}
  )


def driven() -> Objective:
  return lambda tokens, token_loss, coefficient, key: add_penalty(
    token_loss, -coefficient * tokens.entropy, tokens.mask, {}
  )


@ObjectiveTraits(kind="penalty", driven=True)
def declared() -> Objective:
  return driven()


@ControllerTraits(drives=("declared",))
def driver() -> Controller:
  return no_control()


def needy(*, strength: float) -> "types.Objective":
  return loss(strength=strength)


def broken() -> Objective:
  return lambda tokens, token_loss, coefficient, key: tokens.no_such_field


def branchy() -> Objective:
  def objective(tokens, token_loss, coefficient, key):
    if tokens.log_probs.sum() > 0:
      return token_loss
    return token_loss

  return objective


def wrong_type() -> Objective:
  return lambda tokens, token_loss, coefficient, key: tokens.log_probs


def wrong_shape() -> Objective:
  return lambda tokens, token_loss, coefficient, key: add_term(
    token_loss, tokens.log_probs.sum(), tokens.mask, {}
  )


def row_weight() -> Objective:
  return lambda tokens, token_loss, coefficient, key: add_term(
    token_loss, tokens.log_probs, tokens.mask[:, :1], {}
  )


def plain_metric() -> Objective:
  return lambda tokens, token_loss, coefficient, key: add_term(
    token_loss, tokens.log_probs, tokens.mask, {"a/x": jnp.mean(tokens.entropy)}
  )


def wide_metric() -> Objective:
  return lambda tokens, token_loss, coefficient, key: add_term(
    token_loss,
    tokens.log_probs,
    tokens.mask,
    {"a/x": types.Mean(tokens.entropy, tokens.mask)},
  )


def reads_all() -> Objective:
  def objective(tokens, token_loss, coefficient, key):
    value = tokens.rollout_entropy * (tokens.log_probs - tokens.ref_log_probs)
    return add_term(token_loss, value, tokens.mask, {})

  return objective


def no_function() -> Objective:
  return 3


def raises_itself() -> Objective:
  raise KeyError("gone")


def without_annotation():
  return loss()


def doubled() -> AdvantageRule:
  import dataclasses

  return lambda responses: dataclasses.replace(
    responses, advantages=2 * responses.rewards
  )


def of_parts() -> AdvantageRule:
  import dataclasses

  return lambda responses: dataclasses.replace(
    responses,
    advantages=responses.parts["right"]
    + responses.parts.get("form", 0.0)
    - responses.failed,
  )


def plain_lists() -> AdvantageRule:
  import dataclasses

  return lambda responses: dataclasses.replace(
    responses,
    advantages=[[1] * row.size for row in responses.rewards],
    keep=responses.rewards > 0.5,
  )


def row_means() -> AdvantageRule:
  import dataclasses

  return lambda responses: dataclasses.replace(
    responses, advantages=responses.rewards.mean(axis=1)
  )


def no_numbers() -> AdvantageRule:
  import dataclasses

  return lambda responses: dataclasses.replace(
    responses, advantages=responses.rewards, keep="all"
  )


def broken_rule() -> AdvantageRule:
  return lambda responses: responses.rewards


def feedback(*, target: float, gain: float = 1.0) -> Controller:
  return no_control()._replace(
    coefficient=lambda state, entropy: gain * (target - entropy)
  )


def stateful(start, after, **changes) -> Controller:
  import optax

  transform = optax.GradientTransformationExtraArgs(
    lambda params: start,
    lambda updates, state, params=None, *, entropy: (updates, after(entropy)),
  )
  return no_control()._replace(transform=transform, **changes)


def growing() -> Controller:
  return stateful((), lambda entropy: (entropy,))


def counting() -> Controller:
  return stateful({"count": 0}, lambda entropy: {"count": entropy})


def pair() -> Controller:
  return no_control()._replace(coefficient=lambda state, entropy: (0.0, 0.0))


def listed() -> Controller:
  return no_control()._replace(metrics=lambda state, entropy: [entropy])


def worded() -> Controller:
  return no_control()._replace(metrics=lambda state, entropy: {"a": "high"})


def wide() -> Controller:
  return no_control()._replace(
    metrics=lambda state, entropy: {"wide/x": jnp.zeros(3)}
  )


def vector() -> Controller:
  return no_control()._replace(
    coefficient=lambda state, entropy: jnp.zeros(3)
  )


def total() -> Aggregation:
  return lambda loss, weight: (loss * weight).sum()


def squeezed() -> Aggregation:
  return lambda loss, weight: (loss * weight).squeeze()


def no_total() -> Aggregation:
  return lambda loss, weight: loss


def halves() -> Segmenter:
  return lambda text: [(0, len(text) // 2), (len(text) // 2, len(text))]


def all_right(*, task) -> StepJudge:
  return lambda reasonings: [[True for _ in r.steps] for r in reasonings]


def gaps() -> Segmenter:
  return lambda text: [(0, 1)]


def few() -> StepJudge:
  return lambda responses: [[] for _ in responses]


def polite(question: str) -> str:
  return f"Please: {question}"


def number(question: str) -> str:
  return 7


def three(*, size: int = 3, difficulty: int = 1) -> Task:
  from entrojax.types import Problem

  problems = [Problem(str(i), {}) for i in range(size)]
  return Task("mine", lambda split: problems, None)


def no_task() -> Task:
  return 3
"""

# without imports at the top, so that its process starts quickly
REWARDS = """
import time


def reward(prompt, response, target, scale=1.0):
  if response == "raise":
    raise ValueError("bad\\nresponse")
  if response == "hang":
    while True:
      time.sleep(0.01)
  if response == "die":
    import os
    os._exit(1)
  if response == "nan":
    return float("nan")
  if response == "text":
    return "yes"
  return scale * (response == target)


def nan_reward(prompt, response):
  return float("nan")


def all_columns(prompt, response, **columns):
  return float(len(columns))


def verify(problem, response):
  from entrojax.types import Verdict

  right = response == problem.answer["target"]
  return Verdict(float(right), "checked", response)


def odd(x, y):
  return 0.0
"""

ROWS = [
  {"prompt": f"3 5 7 {i}=24:", "target": "(1+2)"[: 1 + i % 5]}
  for i in range(1, 10)
]


def write_code(folder: Path) -> None:
  """Write mine.py, rewards.py and the problems in data/ to a folder."""
  (folder / "mine.py").write_text(MINE)
  (folder / "rewards.py").write_text(REWARDS)
  write_problems(folder / "data")


def write_problems(data: Path, rows=ROWS, splits=("train", "validation")):
  data.mkdir(exist_ok=True)
  for split in (*splits, "test"):
    write_rows(data / f"{split}.jsonl", rows)


def write_rows(path: Path, rows) -> Path:
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path


def config_of(**overrides):
  """Return the default config with these settings, by 'section.leaf'."""
  config = default.get_config()
  config.update_from_flattened_dict(overrides)
  return config


def with_section(config, name, **leaves):
  config[name] = type(config)(leaves)
  return config


def task_of(name="rewards.py:reward", data_dir="data", **overrides):
  return open_task(
    config_of(**{"task.name": name, "task.data_dir": data_dir, **overrides})
  )
