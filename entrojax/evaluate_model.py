r"""The command that judges a model folder: pass@k, maj@k and what it wrote.

    python -m entrojax.evaluate_model --config=configs/grpo.py \
        --config.model.path=my_model --output=evaluations/mine \
        --task='countdown:test' --task='math/gsm8k:test@data/gsm8k'

A task is NAME[#LEVEL][:SPLIT][@FOLDER]; what is left out is the config's, and
without any the config's own task is taken. Sampling is config.evaluation's.
A task's samples depend on the seed and on its rows alone: the first evaluation
of a run that begins with the model has the same numbers. The folder gets

evaluation.json  the settings, the template's name, metrics by task
samples.jsonl    every response: task, row, sample, prompt, response, reward,
                 reason, answer (null: could not be read)

task by task; an interrupted command leaves the tasks that were finished.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
import copy
import itertools
import json
from pathlib import Path
import time
from typing import Any, NamedTuple

from absl import app, flags, logging
import jax
from ml_collections import ConfigDict as Config
from ml_collections import config_flags

from entrojax.assembly.check_settings import check_evaluation, check_kind
from entrojax.assembly.data import Spec, load_problems, parse_spec
from entrojax.assembly.model import model_folder
from entrojax.assembly.run import build_evaluation
from entrojax.data.prompt_stream import encode_prompts
from entrojax.data.tokenizer import Tokenizer, load
from entrojax.evaluate import (
  EVALUATION_KEY,
  Evaluation,
  evaluate_policy,
  measure,
)
from entrojax.reporting.formatting import (
  align,
  number,
  printable,
  with_error,
)
from entrojax.rollouts.sampler import Generate
from entrojax.system import hosts
from entrojax.system.command_line import (
  command,
  define_process_flags,
  join_processes,
  parse_flags,
)
from entrojax.system.workdir import SAMPLES_FILE, check_processes
from entrojax.tasks import make_task
from entrojax.types import Array, Params, Problem, Prompts, Rollout, Task

EVALUATION_FILE = "evaluation.json"

# what the numbers depend on, beside the tasks
_SETTINGS = {
  "model": ("path", "dtype", "scan_layers"),
  "prompt": ("template", "chat"),
  "rollout": ("prompt_length", "response_length"),
  "evaluation": (
    *("num_samples", "temperature", "top_k", "top_p"),
    "prompts_per_batch",
  ),
}
_READ = {
  "seed",
  "mesh",
  "rollout.prompt_buckets",
  "evaluation.split",
  *("task.name", "task.difficulty", "task.data_dir"),
  *(f"{name}.{leaf}" for name, leaves in _SETTINGS.items() for leaf in leaves),
}
_SECONDS = 10  # between lines of progress
Tell = Callable[[str, int, int], None]  # see evaluate_model


class Questions(NamedTuple):
  """A split that has been read."""

  label: str  # as the command line names it
  spec: Spec
  task: Task
  problems: Sequence[Problem]  # their prompts as the model reads them


def evaluate_model(
  config: Config,
  labels: Sequence[str],
  output: Path,
  *,
  tell: Tell = lambda label, done, count: None,
) -> Iterator[tuple[str, dict[str, float]]]:
  """Evaluates a model on tasks; all share one compiled sampler.

  Args:
    config: read as far as its model, prompt, mesh, lengths and evaluation go;
      left as it is.
    labels: NAME[#LEVEL][:SPLIT][@FOLDER]; none: the config's task and split.
    output: the folder to write, made if absent.
    tell: called before each batch with the label, the prompts done and their
      number.

  Yields:
    (label, metrics by name), once the task's numbers are written.

  Raises:
    ValueError: a setting or a task cannot work, a split is empty, a prompt does
      not fit, or the folder holds something: before anything is sampled.
  """
  config = copy.deepcopy(config)
  config.lora.rank = 0  # the folder's own weights are judged
  check_processes(
    config=config.to_dict(), tasks=list(labels), output=str(output)
  )
  with hosts.together():
    check_evaluation(config)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
      raise ValueError(
        f"{output} holds something: choose another output folder"
      )
    tokenizer = load(_model_folder(config.model.path))
    read = [
      _read(config, label, tokenizer) for label in _labels(config, labels)
    ]
    generate, params = build_evaluation(config, tokenizer)
  if hosts.is_first():
    output.mkdir(parents=True, exist_ok=True)
  found: dict[str, Any] = {}
  batch_size = config.evaluation.prompts_per_batch
  for asked in read:
    evaluation = evaluate_policy(
      _telling(generate, tell, asked, batch_size),
      params,
      asked.problems,
      asked.task.verify,
      tokenizer,
      jax.random.fold_in(jax.random.key(config.seed), EVALUATION_KEY),
      prompt_length=config.rollout.prompt_length,
      prompt_buckets=config.rollout.prompt_buckets,
      prompts_per_batch=batch_size,
    )
    found[asked.label] = {
      **asked.spec._asdict(),
      "num_problems": len(asked.problems),
      "metrics": measure(evaluation),
    }
    if hosts.is_first():
      _append_samples(output / SAMPLES_FILE, asked, evaluation)
      _write(output / EVALUATION_FILE, settings_of(config) | {"tasks": found})
    yield asked.label, found[asked.label]["metrics"]


def spec_of(label: str, config: Config) -> Spec:
  """Reads NAME[#LEVEL][:SPLIT][@FOLDER]; the rest is the config's."""
  task = config.task
  default = Spec(
    task.name, task.difficulty, config.evaluation.split, task.data_dir
  )
  try:
    return parse_spec(label, default)
  except ValueError as error:
    raise ValueError(f"--task={error}") from None


def settings_of(config: Config) -> dict[str, Any]:
  """Returns what the numbers depend on, and the name of the template."""
  plain = config.prompt.template
  return {
    "seed": config.seed,
    "template": f"chat({plain})" if config.prompt.chat else plain,
    **{
      name: {leaf: config[name][leaf] for leaf in leaves}
      for name, leaves in _SETTINGS.items()
    },
  }


def check_overrides(keys: Collection[str]) -> None:
  """Raises ValueError naming the first setting that would do nothing.

  Args:
    keys: 'section.leaf' of what the command line set.
  """
  for key in keys:
    if key in _READ:
      continue
    section, _, leaf = key.partition(".")
    twin = f"evaluation.{leaf}"
    hint = f"; did you mean {twin}?" if twin in _READ else ""
    if section == "lora":
      hint = "; entrojax.export merges an adapter into a model folder"
    raise ValueError(
      f"{key} is set and would do nothing: an evaluation does not read it{hint}"
    )


def format_metrics(found: dict[str, dict[str, float]]) -> str:
  """Formats label -> metrics: a line a metric, a column a task."""
  names = next(iter(found.values()))
  cells = []
  for name in names:
    if name.endswith("_stderr"):
      continue
    error = f"{name}_stderr"
    show = with_error if "@" in name else number
    unit = {"entropy": " (nats)", "response_length": " (tokens)"}.get(name, "")
    cells.append(
      [
        name + unit,
        *(
          with_error(metrics[name], metrics[error])
          if error in metrics
          else show(metrics[name])
          for metrics in found.values()
        ),
      ]
    )
  return align([printable(label) for label in found], cells)


def _labels(config: Config, labels: Sequence[str]) -> Sequence[str]:
  """Returns the labels to read: the config's own task where there are none."""
  if not labels and not config.task.name:
    raise ValueError("task.name is not set, and there is no --task")
  twice = [label for label in labels if labels.count(label) > 1]
  if twice:
    raise ValueError(f"--task={twice[0]!r} is given twice")
  return labels or [f"{config.task.name}:{config.evaluation.split}"]


def _model_folder(path: str) -> Path:
  """Returns the folder of a model; a run's own is none."""
  folder = model_folder(path)
  if (folder / "checkpoints").is_dir() and not (
    folder / "tokenizer.json"
  ).exists():
    raise ValueError(
      f"model.path: {path} is a run directory: entrojax.export writes its "
      "policy as a model folder"
    )
  return folder


def _read(config: Config, label: str, tokenizer: Tokenizer) -> Questions:
  """Reads a split and fits its prompts to their bucket."""
  spec = spec_of(label, config)
  try:
    task = make_task(spec.task, spec.data_dir, spec.difficulty)
    problems = load_problems(config, task, spec.split)
    if not len(problems):
      raise ValueError(f"split={spec.split!r} holds no problem")
    encode_prompts(problems, tokenizer, config.rollout.prompt_length)
  except ValueError as error:
    raise ValueError(f"{label}: {error}") from error
  return Questions(label, spec, task, problems)


def _telling(
  generate: Generate, tell: Tell, asked: Questions, batch_size: int
) -> Generate:
  """Wraps `generate` so that it tells how many prompts are behind it."""
  done = itertools.count(0, batch_size)

  def run(params: Params, prompts: Prompts, key: Array) -> Rollout:
    tell(asked.label, next(done), len(asked.problems))
    return generate(params, prompts, key)

  return run


def _append_samples(
  path: Path, asked: Questions, evaluation: Evaluation
) -> None:
  """Writes a line for every response, in the order of rows and samples."""
  with path.open("a") as file:
    for row, problem in enumerate(asked.problems):
      judged = zip(evaluation.texts[row], evaluation.verdicts[row], strict=True)
      for sample, (text, verdict) in enumerate(judged):
        line = {
          "task": asked.label,
          "row": row,
          "sample": sample,
          "prompt": problem.prompt,
          "response": text,
          **verdict._asdict(),
        }
        file.write(json.dumps(line) + "\n")


def _write(path: Path, content: dict[str, Any]) -> None:
  """Writes JSON, whole or not at all."""
  part = path.with_suffix(".part")
  part.write_text(json.dumps(content, indent=2) + "\n")
  part.replace(path)


def define_flags() -> None:
  """Defines what the command takes; importing this file defines nothing."""
  config_flags.DEFINE_config_file("config", None, "the model and the sampling")
  flags.DEFINE_multi_string(
    "task", [], "NAME[#LEVEL][:SPLIT][@FOLDER], as often as there are tasks"
  )
  flags.DEFINE_string("output", None, "the folder to write")
  flags.mark_flags_as_required(["config", "output"])
  define_process_flags()


def _progress() -> Tell:
  """Makes what prints a line of progress now and then."""
  said = time.monotonic()

  def tell(label: str, done: int, count: int) -> None:
    nonlocal said
    if time.monotonic() - said >= _SECONDS and hosts.is_first():
      said = time.monotonic()
      print(f"{label}: {done}/{count} prompts", flush=True)

  return tell


@command("interrupted")
def main() -> int:
  """Evaluates and prints the table; returns the exit status."""
  given, found = flags.FLAGS, {}
  output = Path(given.output)
  join_processes()
  check_kind(given.config)
  check_overrides(config_flags.get_override_values(given["config"]))
  try:
    for label, metrics in evaluate_model(
      given.config, given.task, output, tell=_progress()
    ):
      found[label] = metrics
      if hosts.is_first():
        print(f"evaluated {label}", flush=True)
  finally:
    if hosts.is_first() and found and len(found) < len(given.task):
      print(f"{output} holds {', '.join(found)}")
  if not hosts.is_first():
    return 0
  print(f"model {given.config.model.path}, template ", end="")
  print(settings_of(given.config)["template"])
  print(format_metrics(found))
  print(f"done: {output / EVALUATION_FILE}")
  return 0


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  define_flags()
  app.run(main, flags_parser=parse_flags)
