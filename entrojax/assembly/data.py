"""Read the data that a config names: tokenizer, template, problems and prompts.

`read_data` reads all that training needs. Other commands use the parts:
`parse_spec` parses a task as a command line names it, `make_template` and
`load_problems` give prompts as the model reads them, and `make_clusterer` gives
the function that clusters answers. `rollout_settings` lists the settings that
recorded rollouts depend on.
"""

import ast
from collections.abc import Callable, Sequence
import functools
import inspect
from pathlib import Path
import re
from typing import Any, NamedTuple
import warnings

from ml_collections import ConfigDict as Config
import numpy as np

from entrojax.answers import clusters, spelling
from entrojax.assembly import lookup
from entrojax.assembly.guards import guard_template
from entrojax.assembly.named_methods import clusters_are_read
from entrojax.data import prompt_subset, templates
from entrojax.data import tokenizer as tokenizers
from entrojax.data.curriculum import Stages, read_entropies, stage_rows
from entrojax.data.prompt_stream import (
  PromptStream,
  Templated,
  fitting_rows,
)
from entrojax.models import hugging_face
from entrojax.system.outside import is_outside, last_name
from entrojax.tasks import make_task
from entrojax.tasks.own import own_task
from entrojax.types import Problem, Task

RAISE, DROP = "raise", "drop"  # the values of prompt.too_long
SPEC_FORM = "NAME[#LEVEL][:SPLIT][@FOLDER]"
# a name of the user's own code has a colon itself, after a dot: mine.py:reward
_NAME = r"[^#:@]*\.[^#:@]*:[A-Za-z_]\w*|[^#:@]+"
_SPEC = re.compile(rf"({_NAME})(?:#(\d+))?(?::([^@]+))?(?:@(.+))?")

# (answers of a group, None = unparsed) -> cluster numbers
Clusterer = Callable[[Sequence[str | None]], list[int]]


class Data(NamedTuple):
  """The problems of a run, and how prompts are written and answers verified."""

  task: Task
  tokenizer: tokenizers.Tokenizer
  template: Callable[[str], str]  # a problem's prompt -> the model's prompt
  stages: Stages  # the training prompts
  cluster: Clusterer | None  # None: no rule reads clusters

  @property
  def stream(self) -> PromptStream:
    """The prompts of the first stage, which is usually the only one."""
    return self.stages.streams[0]


class Spec(NamedTuple):
  """A split of a task, as a command line or a config names it."""

  task: str
  difficulty: int  # level of the task, 1 = the easiest
  split: str
  data_dir: str | None  # None: the task's default


def parse_spec(label: str, default: Spec) -> Spec:
  """Parse NAME[#LEVEL][:SPLIT][@FOLDER].

  Args:
    label: the text.
    default: its fields replace the parts that the text leaves out.

  Raises:
    ValueError: the text has another form.
  """
  match = _SPEC.fullmatch(label)
  if match is None:
    raise ValueError(f"{label!r} is not of the form {SPEC_FORM}")
  name, level, split, folder = match.groups()
  return Spec(
    task=name,
    difficulty=int(level) if level else default.difficulty,
    split=split or default.split,
    data_dir=folder or default.data_dir,
  )


def open_task(config: Config, spec: Spec | None = None) -> Task:
  """Build the task that a config names.

  Args:
    config: config.task names the task. For a function of the user's own code,
      the section of its last name holds its arguments.
    spec: names another task instead.

  Raises:
    ValueError: there is no such task, or it cannot work.
  """
  if spec is None:
    task = config.task
    spec = Spec(task.name, task.difficulty, task.train_split, task.data_dir)
  if spec.task.endswith(".py"):
    raise ValueError(
      f"task.name: a function of your own is written {spec.task}:FUNCTION"
    )
  if not is_outside(spec.task):
    # other files have columns of their own
    task = config.get("task")  # supervised learning has no such section
    is_own = task and (spec.task, spec.data_dir) == (task.name, task.data_dir)
    columns = task.columns if is_own else ()
    return make_task(
      spec.task, spec.data_dir, spec.difficulty, columns=tuple(columns)
    )
  function = lookup.import_function(spec.task, "task.name")
  if lookup.return_annotation(function) not in (Task, "Task"):
    return _task_of_reward(function, spec)
  resources = {"data_dir": spec.data_dir, "difficulty": spec.difficulty}
  parameters = inspect.signature(function).parameters
  arguments = lookup.settings(config, spec.task)
  arguments |= {k: v for k, v in resources.items() if k in parameters}
  made = lookup.call(function, spec.task, arguments)
  if not isinstance(made, Task):
    raise ValueError(
      f"task.name: {spec.task} returned a value of type {type(made).__name__}; "
      "expected a Task"
    )
  return made


def _task_of_reward(function: Callable, spec: Spec) -> Task:
  """Build the task of a user's own reward function and files."""
  if spec.data_dir is None:
    raise ValueError(
      f"task.data_dir is not set; for the reward {spec.task} it must be a "
      "folder with train.jsonl, validation.jsonl and test.jsonl, or a single "
      "file, with a column prompt"
    )
  if spec.difficulty != 1:
    raise ValueError(
      f"task.difficulty must be 1 for {spec.task}, got {spec.difficulty}: "
      "files have a fixed difficulty"
    )
  return own_task(function, spec.data_dir, name=spec.task, importable=True)


def read_data(config: Config, folder: Path, task: Task | None = None) -> Data:
  """Read tokenizer and problems, and check that every prompt fits its bucket.

  Args:
    config: a checked config.
    folder: the model's folder.
    task: the task; None: the config names it.
  """
  tokenizer = load_tokenizer(config, folder)
  template = make_template(config, folder)
  task = task or open_task(config)
  cluster = make_clusterer(config, task) if clusters_are_read(config) else None
  problems = task.load(config.task.train_split)
  stages = _stages(config, problems, template, tokenizer)
  return Data(task, tokenizer, template, stages, cluster)


def load_problems(
  task: Task, split: str, template: Callable[[str], str]
) -> Sequence[Problem]:
  """Load a split of a task, with prompts as the model reads them.

  Args:
    task: the task.
    split: name of the split.
    template: maps a problem's prompt to the model's prompt.
  """
  return Templated(task.load(split), template)


def training_rows(config: Config, problems: Sequence[Problem]) -> np.ndarray:
  """Return the rows i64[N] of the training split to train on.

  Args:
    config: names the subset, if there is one.
    problems: the whole training split, without a template.
  """
  if config.task.subset:
    return prompt_subset.read(Path(config.task.subset), problems)
  return np.arange(len(problems))


def drop_long(
  config: Config,
  problems: Sequence[Problem],
  tokenizer: tokenizers.Tokenizer,
  label: str = "training",
) -> np.ndarray:
  """Return the rows i64[N] of the problems to keep; warn if some are dropped.

  Args:
    config: prompt.too_long and rollout.prompt_length.
    problems: with prompts as the model reads them.
    tokenizer: encodes the prompts.
    label: of the problems, for the warning.

  Raises:
    ValueError: no prompt fits.
  """
  if config.prompt.too_long != DROP:
    return np.arange(len(problems))
  length = config.rollout.prompt_length
  rows = fitting_rows(problems, tokenizer, length)
  dropped = len(problems) - len(rows)
  if dropped:
    text = (
      f"{dropped} of {len(problems)} {label} prompts have more than "
      f"rollout.prompt_length={length} tokens"
    )
    if not len(rows):
      raise ValueError(f"{text}: none is left")
    warnings.warn(f"{text} and are left out", stacklevel=2)
  return rows


def single_stage(
  config: Config, problems: Sequence[Problem], tokenizer: tokenizers.Tokenizer
) -> Stages:
  """Build the stream of these problems, without a curriculum."""
  return Stages((_stream(config, problems, tokenizer),), length=1)


def rollout_settings(config: Config, folder: Path) -> dict[str, Any]:
  """Return the settings that recorded rollouts depend on.

  Args:
    config: a checked config.
    folder: the model's folder.

  Returns:
    Nested settings, and a digest of the model's weights as model.weights.
  """
  names = ("model", "task", "prompt", "rollout", "segmentation")
  sections = {name: config[name].to_dict() for name in names}
  weights = hugging_face.digest(folder)
  task_name = config.task.name
  return {
    **sections,
    "seed": config.seed,
    "num_prompts": config.offline.num_prompts,
    "model": {**sections["model"], "weights": weights},
    **_arguments(config, config.segmentation.name),
    **(_arguments(config, task_name) if is_outside(task_name) else {}),
    "judges": {
      key: value
      for name in config.judges
      for key, value in _arguments(config, name).items()
    },
  }


def _arguments(config: Config, name: str) -> dict[str, Any]:
  """Return the section of a function's arguments, by the function's name."""
  section = config.get(last_name(name), Config())
  return {last_name(name): section.to_dict()}


def _stream(
  config: Config,
  problems: Sequence[Problem],
  tokenizer: tokenizers.Tokenizer,
) -> PromptStream:
  """Build an endless stream of batches of rollout.num_prompts prompts."""
  return PromptStream(
    problems,
    tokenizer=tokenizer,
    num_prompts=config.rollout.num_prompts,
    prompt_length=config.rollout.prompt_length,
    prompt_buckets=config.rollout.prompt_buckets,
    seed=config.seed,
  )


def _stages(
  config: Config,
  problems: Sequence[Problem],
  template: Callable[[str], str],
  tokenizer: tokenizers.Tokenizer,
) -> Stages:
  """Build one stream of prompts for each stage of the curriculum.

  Without a curriculum there is a single one.

  Args:
    config: a checked config.
    problems: the whole training split, with prompts as the task writes them.
    template: maps a problem's prompt to the model's prompt.
    tokenizer: the policy's tokenizer.
  """
  templated = Templated(list(problems), template)

  def stream(rows: np.ndarray) -> PromptStream:
    return _stream(config, [templated[row] for row in rows], tokenizer)

  rows = training_rows(config, problems)
  kept = drop_long(config, [templated[row] for row in rows], tokenizer)
  rows = rows[kept]
  settings = config.curriculum
  if not settings.table:
    return Stages((stream(rows),), length=1)
  entropies = read_entropies(Path(settings.table), config.task, problems)
  stages = stage_rows(entropies[rows], settings.num_stages)
  return Stages(
    tuple(stream(rows[stage]) for stage in stages),
    length=settings.steps_per_stage,
  )


def make_template(config: Config, folder: Path) -> Callable[[str], str]:
  """Build the function that turns a problem's prompt into the model's prompt.

  Args:
    config: config.prompt names the template.
    folder: the model's folder, which may hold a chat template.
  """
  plain = lookup.function(
    templates, config.prompt.template, "prompt.template", "str"
  )
  if is_outside(config.prompt.template):
    plain = guard_template(plain, f"prompt.template: {config.prompt.template}")
  if not config.prompt.chat:
    return plain
  from entrojax.data import (
    chat_template,  # needs jinja2, which few runs do
  )

  chat = chat_template.load(
    folder, system=config.prompt.system, **template_arguments(config)
  )
  return lambda text: chat(plain(text))


def template_arguments(config: Config) -> dict[str, Any]:
  """Parse the setting prompt.template_arguments: NAME=VALUE, ...

  A value is a number, True, False, None or a quoted text; otherwise it is a
  text as it stands.

  Raises:
    ValueError: an item has another form, or a name is given twice.
  """
  arguments: dict[str, Any] = {}
  for item in config.prompt.template_arguments:
    name, equals, value = str(item).partition("=")
    if not equals or not name.isidentifier() or name in arguments:
      raise ValueError(
        f"prompt.template_arguments: {item!r} is not NAME=VALUE with a name of "
        "its own, such as 'enable_thinking=False'"
      )
    try:
      arguments[name] = ast.literal_eval(value)
    except (ValueError, SyntaxError):
      arguments[name] = value
  return arguments


def load_tokenizer(config: Config, folder: Path) -> tokenizers.Tokenizer:
  """Load the tokenizer of a model, with the tokens of rollout.stop_tokens.

  Warns if a token that should end a response does not: the eos_token of
  tokenizer_config.json or, with prompt.chat, what the chat template writes
  after a turn. A policy that ends its turn with it would write on until the
  response is full.

  Args:
    config: rollout.stop_tokens and the section prompt.
    folder: the model's folder.

  Raises:
    ValueError: a file is malformed, or a stop token is not in the vocabulary.
  """
  tokenizer = tokenizers.load(folder)
  try:
    tokenizer = tokenizer.with_stops(tuple(config.rollout.stop_tokens))
  except ValueError as error:
    raise ValueError(f"rollout.stop_tokens: {error}") from error
  ends = {"tokenizer_config.json: eos_token": tokenizers.end_token(folder)}
  if config.prompt.chat:
    from entrojax.data import chat_template

    ends["the chat template ends a turn with"] = chat_template.turn_end(
      folder, **template_arguments(config)
    )
  for source, text in ends.items():
    try:
      is_missing = text and tokenizer.token_id(text) not in tokenizer.eos_ids
    except ValueError:  # it is no single token, so that it cannot end a row
      continue
    if is_missing:
      warnings.warn(
        f"{folder}: {source} {text!r}, which does not end a response: "
        f"eos_token_id gives {list(tokenizer.eos_ids)}. To end responses with "
        f'it, set rollout.stop_tokens to ("{text}",)',
        stacklevel=2,
      )
  return tokenizer


def make_clusterer(config: Config, task: Task) -> Clusterer:
  """Build the function that clusters a group's answers by their meaning.

  Args:
    config: config.clusters describes it.
    task: the task, whose `equivalent` is used for clusters.equality =
      'verified'.

  Raises:
    ValueError: a setting of config.clusters cannot work.
  """
  settings = config.clusters
  if settings.unparsed not in clusters.UNPARSED:
    raise ValueError(
      f"clusters.unparsed must be one of {clusters.UNPARSED}, got "
      f"{settings.unparsed!r}"
    )
  equalities = {
    "exact": spelling.exact,
    "normalised": spelling.normalised,
    "verified": task.equivalent,
  }
  if settings.equality not in equalities:
    raise ValueError(
      f"clusters.equality must be one of {sorted(equalities)}, got "
      f"{settings.equality!r}"
    )
  equivalent = equalities[settings.equality]
  if equivalent is None:
    raise ValueError(
      f"clusters.equality is 'verified' but task {task.name!r} compares "
      "answers only as text: take 'normalised'"
    )
  return functools.partial(
    clusters.cluster,
    equivalent=clusters.Guarded(equivalent),
    unparsed=settings.unparsed,
  )
