"""What a run reads, as its config says: tokenizer, problems, prompts."""

from collections.abc import Callable, Sequence
import functools
from pathlib import Path
import re
from typing import Any, NamedTuple

from ml_collections import ConfigDict as Config
import numpy as np

from entrojax.answers import clusters, spelling
from entrojax.assembly.lookup import member
from entrojax.assembly.model import model_folder
from entrojax.data import prompt_subset, templates
from entrojax.data import tokenizer as tokenizers
from entrojax.data.curriculum import Stages, read_entropies, stage_rows
from entrojax.data.prompt_stream import PromptStream, Templated, encode_prompts
from entrojax.models import hugging_face
from entrojax.tasks import make_task
from entrojax.types import Problem, Task

SPEC_FORM = "NAME[#LEVEL][:SPLIT][@FOLDER]"
_SPEC = re.compile(r"([^#:@]+)(?:#(\d+))?(?::([^@]+))?(?:@(.+))?")

# answers of a group, None = unparsed -> cluster ids
Clusterer = Callable[[Sequence[str | None]], list[int]]


class Data(NamedTuple):
  """What the run reads, and how it is judged."""

  task: Task
  tokenizer: tokenizers.Tokenizer
  stages: Stages
  held_out: Sequence[Problem]
  cluster: Clusterer | None  # of a group's answers, where a rule asks for it

  @property
  def stream(self) -> PromptStream:
    """The prompts of the first stage, mostly the only one."""
    return self.stages.streams[0]


class Spec(NamedTuple):
  """A split of a task."""

  task: str
  difficulty: int
  split: str
  data_dir: str | None  # None: the task's default


def parse_spec(label: str, default: Spec) -> Spec:
  """Reads NAME[#LEVEL][:SPLIT][@FOLDER]; what is left out is the default's.

  Raises:
    ValueError: it has another form.
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


def read_data(config: Config) -> Data:
  """Reads tokenizer and problems, and fits every prompt to its bucket."""
  tokenizer = tokenizers.load(model_folder(config.model.path))
  task = make_task(
    config.task.name, config.task.data_dir, config.task.difficulty
  )
  asked = "seed_grpo" in config.advantage
  cluster = make_clusterer(config, task) if asked else None
  held_out = load_problems(config, task, config.evaluation.split)
  encode_prompts(held_out, tokenizer, config.rollout.prompt_length)
  stages = _stages(config, task.load(config.task.train_split), tokenizer)
  return Data(task, tokenizer, stages, held_out, cluster)


def load_problems(config: Config, task: Task, split: str) -> Sequence[Problem]:
  """Returns a split of the task, its prompts as the model is to read them."""
  return Templated(task.load(split), make_template(config))


def training_rows(config: Config, problems: Sequence[Problem]) -> np.ndarray:
  """Returns the rows of the training split that are trained on, i64[N]."""
  if config.task.subset:
    return prompt_subset.read(Path(config.task.subset), problems)
  return np.arange(len(problems))


def one_stage(
  config: Config, problems: Sequence[Problem], data: Data
) -> Stages:
  """Makes the stream of these prompts, without a curriculum."""
  return Stages((_stream(config, problems, data.tokenizer),), length=1)


def settings_of(config: Config) -> dict[str, Any]:
  """Returns what recorded rollouts depend on."""
  names = ("model", "task", "prompt", "rollout", "segmentation")
  sections = {name: config[name].to_dict() for name in names}
  weights = hugging_face.digest(model_folder(config.model.path))
  return {
    **sections,
    "seed": config.seed,
    "num_prompts": config.offline.num_prompts,
    "model": {**sections["model"], "weights": weights},
    config.segmentation.name: config[config.segmentation.name].to_dict(),
    "judges": {name: config[name].to_dict() for name in config.judges},
  }


def _stream(
  config: Config,
  problems: Sequence[Problem],
  tokenizer: tokenizers.Tokenizer,
) -> PromptStream:
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
  tokenizer: tokenizers.Tokenizer,
) -> Stages:
  """Makes the stream of prompts, or one for each stage of the curriculum.

  Args:
    config: of the run.
    problems: the whole training split, their prompts as the task has them.
    tokenizer: of the policy.
  """
  templated = Templated(list(problems), make_template(config))

  def stream(rows: np.ndarray) -> PromptStream:
    return _stream(config, [templated[row] for row in rows], tokenizer)

  rows = training_rows(config, problems)
  settings = config.curriculum
  if not settings.table:
    return Stages((stream(rows),), length=1)
  entropies = read_entropies(Path(settings.table), config.task, problems)
  stages = stage_rows(entropies[rows], settings.num_stages)
  return Stages(
    tuple(stream(rows[stage]) for stage in stages),
    length=settings.steps_per_stage,
  )


def make_template(config: Config) -> Callable[[str], str]:
  """Makes what config.prompt describes: a problem's prompt to the model's."""
  plain = member(templates, config.prompt.template, "prompt.template")
  if not config.prompt.chat:
    return plain
  from entrojax.data import (
    chat_template,  # jinja2, only where a run asks for it
  )

  chat = chat_template.load(model_folder(config.model.path))
  return lambda text: chat(plain(text))


def make_clusterer(config: Config, task: Task) -> Clusterer:
  """Makes what sorts a group's answers by meaning, as config.clusters says."""
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
      f"clusters.equality is 'verified' but task {task.name!r} knows no "
      "equality of answers but that of their text: take 'normalised'"
    )
  return functools.partial(
    clusters.cluster,
    equivalent=clusters.Guarded(equivalent),
    unparsed=settings.unparsed,
  )
