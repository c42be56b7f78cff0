"""Read the evaluation sets that a config or a command line names.

An item of evaluation.tasks is a label NAME[#LEVEL][:SPLIT][@FOLDER], or a pair
of a label and the number of samples for each of its prompts. Without items, the
only set is the split evaluation.split of the config's own task. The parts that
a label leaves out, and the number of samples, come from the config as well.

`requested` and `requested_by_labels` read the items alone. `read_set` opens the
task of an item and reads its problems. `read_sets` reads all sets of a run.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict as Config

from entrojax.assembly.data import (
  Data,
  Spec,
  drop_long,
  load_problems,
  open_task,
  parse_spec,
)
from entrojax.data.prompt_stream import encode_prompts
from entrojax.data.tokenizer import Tokenizer
from entrojax.types import Problem, Task


class Request(NamedTuple):
  """An evaluation set that is named and not yet read."""

  label: str  # as a config or a command line names it
  spec: Spec
  num_samples: int  # for each prompt
  name: str | None  # in the metrics val/<name>/...; None: the task's name
  source: str  # "--task" or the setting that names it, for messages; or ""


class EvaluationSet(NamedTuple):
  """The problems of one evaluation, and the number of their samples."""

  label: str  # as a config or a command line names it
  name: str  # in the metrics val/<name>/... of a run
  spec: Spec
  task: Task
  problems: Sequence[Problem]  # with prompts as the model reads them
  num_samples: int  # for each prompt


def requested(config: Config) -> list[Request]:
  """Return the sets that evaluation.tasks names, or the config's own set.

  Metrics have the label in their names. Those of the config's own set have the
  name of its task instead.

  Raises:
    ValueError: an item is malformed, or a label is named twice.
  """
  items = config.evaluation.tasks
  default = _default_spec(config)
  if not items:
    label, number = f"{default.task}:{default.split}", _num_samples(config)
    return [Request(label, default, number, name=None, source="")]
  pairs = [_read_item(item, _num_samples(config)) for item in items]
  return _requests(config, pairs, source="evaluation.tasks")


def requested_by_labels(config: Config, labels: Sequence[str]) -> list[Request]:
  """Return the sets that labels name, with evaluation.num_samples samples.

  Raises:
    ValueError: a label is malformed or named twice.
  """
  pairs = [(label, _num_samples(config)) for label in labels]
  return _requests(config, pairs, source="--task")


def read_sets(config: Config, data: Data) -> tuple[EvaluationSet, ...]:
  """Read all evaluation sets of a run.

  Args:
    config: a checked config.
    data: the run's own task, tokenizer and template.
  """
  return tuple(
    read_set(config, request, data.tokenizer, data.template, data.task)
    for request in requested(config)
  )


def read_set(
  config: Config,
  request: Request,
  tokenizer: Tokenizer,
  template: Callable[[str], str],
  task: Task | None = None,
) -> EvaluationSet:
  """Read the problems of an evaluation set.

  Args:
    config: the settings.
    request: names the set.
    tokenizer: encodes the prompts.
    template: maps a problem's prompt to the model's prompt.
    task: the config's own task, if it is open; None: it is opened if needed.

  Raises:
    ValueError: there is no such task or split, it is empty, or a prompt has
      more than rollout.prompt_length tokens. The message names the label.
  """
  spec = request.spec
  own = _default_spec(config)._replace(split=spec.split)
  try:
    if task is None or spec != own:
      task = open_task(config, spec)
    problems = load_problems(task, spec.split, template)
    if not len(problems):
      raise ValueError(f"split={spec.split!r} holds no problem")
    kept = drop_long(config, problems, tokenizer, request.label)
    if len(kept) < len(problems):
      problems = [problems[row] for row in kept]
    encode_prompts(problems, tokenizer, config.rollout.prompt_length)
  except ValueError as error:
    names = filter(None, (request.source, request.label))
    raise ValueError(f"{': '.join(names)}: {error}") from error
  name = task.name if request.name is None else request.name
  return EvaluationSet(
    request.label, name, spec, task, problems, request.num_samples
  )


def _default_spec(config: Config) -> Spec:
  """Return the spec of the config's own evaluation set."""
  task = config.task
  return Spec(
    task.name, task.difficulty, config.evaluation.split, task.data_dir
  )


def _num_samples(config: Config) -> int:
  return config.evaluation.num_samples


def _read_item(item: Any, num_samples: int) -> tuple[str, int]:
  """Read an item of evaluation.tasks: (label, number of samples).

  Args:
    item: a label, or a pair.
    num_samples: the number of samples for an item that is only a label.

  Raises:
    ValueError: the item is neither, or the number is below 1.
  """
  if isinstance(item, str):
    return item, num_samples
  is_pair = isinstance(item, tuple | list) and len(item) == 2
  if not (is_pair and isinstance(item[0], str) and type(item[1]) is int):
    raise ValueError(
      f"evaluation.tasks has the item {item!r}; expected a label such as "
      "'countdown:test', or a pair of a label and a number of samples, such as "
      "('countdown:test', 16)"
    )
  label, number = item
  if number < 1:
    raise ValueError(
      f"evaluation.tasks: {label!r} needs at least 1 sample, got {number}"
    )
  return label, number


def _requests(
  config: Config, pairs: Sequence[tuple[str, int]], source: str
) -> list[Request]:
  """Parse the labels of pairs (label, number of samples)."""
  labels = [label for label, _ in pairs]
  twice = [label for label in labels if labels.count(label) > 1]
  if twice:
    raise ValueError(f"{source}: {twice[0]!r} is given twice")
  default = _default_spec(config)
  try:
    specs = [parse_spec(label, default) for label in labels]
  except ValueError as error:
    raise ValueError(f"{source}: {error}") from None
  return [
    Request(label, spec, number, name=label, source=source)
    for (label, number), spec in zip(pairs, specs, strict=True)
  ]
