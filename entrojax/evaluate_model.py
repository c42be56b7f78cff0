r"""Evaluate a model folder on tasks: pass@k, maj@k and all its responses.

    python -m entrojax.evaluate_model --config=configs/grpo.py \
        --config.model.path=my_model --output=evaluations/mine \
        --task='countdown:test' --task='math/gsm8k:test@data/gsm8k'

A task is NAME[#LEVEL][:SPLIT][@FOLDER]. LEVEL is its difficulty, from 1 = the
easiest, and FOLDER holds its data. Optional parts that are left out come from
the config, and without any --task the config's own task is evaluated. The
config's section `evaluation` sets the number of samples, temperature, top_k and
top_p, and its section `rollout` the lengths of prompts and responses.

The samples of a task depend on the model, the settings, the seed and the task's
rows. They do not depend on the other tasks of the command. The metrics of a
task equal those that a run reports before its first step, if the run starts
from the same model with the same settings and seed and evaluates on the same
task.

The command prints a table of the metrics. After each task it writes to the
folder --output

evaluation.json  the settings, the template's name, and the metrics by task
samples.jsonl    every response: task, row, sample, prompt, response, reward,
                 reason, answer (null: no answer was found)

An interrupted command leaves the results of the tasks that it has finished. It
cannot be resumed: --output must be empty or missing at the start.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
import copy
import itertools
import json
from pathlib import Path
import time
from typing import Any, NamedTuple

from absl import flags
import jax
from ml_collections import ConfigDict as Config
from ml_collections import config_flags

from entrojax.assembly.check_settings import check_evaluation, check_kind
from entrojax.assembly.data import (
  Spec,
  load_problems,
  make_template,
  open_task,
  parse_spec,
)
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
)
from entrojax.system.workdir import SAMPLES_FILE, check_processes
from entrojax.types import Array, Params, Problem, Prompts, Rollout, Task

EVALUATION_FILE = "evaluation.json"

# the settings that the metrics depend on, besides the tasks
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

# (label, prompts done, prompts in all), called before each batch of prompts
ReportProgress = Callable[[str, int, int], None]

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "the model and the sampling, a file such as configs/grpo.py",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output",
  "",
  "the folder to write, which must be empty or missing",
  flag_values=FLAGS,
)
_TASKS = flags.DEFINE_multi_string(
  "task",
  [],
  "a task to evaluate on, NAME[#LEVEL][:SPLIT][@FOLDER] such as "
  "countdown:test; by default the config's task",
  flag_values=FLAGS,
)
define_process_flags(FLAGS)


class TaskSplit(NamedTuple):
  """The problems of one split of a task."""

  label: str  # as the command line names it
  spec: Spec
  task: Task
  problems: Sequence[Problem]  # with prompts as the model reads them


def evaluate_model(
  config: Config,
  labels: Sequence[str],
  output: Path,
  *,
  report_progress: ReportProgress = lambda label, done, count: None,
) -> Iterator[tuple[str, dict[str, float]]]:
  """Evaluate a model on tasks; all of them share one compiled sampler.

  Args:
    config: its model, prompt, mesh, lengths and evaluation are read; not
      changed.
    labels: the tasks, each NAME[#LEVEL][:SPLIT][@FOLDER]; if there are none,
      the config's task and split.
    output: the folder to write; created if missing.
    report_progress: called before each batch of prompts.

  Yields:
    (label, metrics by name) for each task, once its files are written.

  Raises:
    ValueError: a setting or a task cannot work, a split is empty, a prompt is
      too long, or the folder is not empty. Raised before anything is sampled.
  """
  config = copy.deepcopy(config)
  config.lora.rank = 0  # evaluates the folder's own weights, without an adapter
  check_processes(
    config=config.to_dict(), tasks=list(labels), output=str(output)
  )
  with hosts.together():
    check_evaluation(config)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
      raise ValueError(
        f"{output} holds something: choose another output folder"
      )
    folder = _check_model_folder(config.model.path)
    tokenizer, template = load(folder), make_template(config, folder)
    splits = [
      _read_split(config, label, tokenizer, template)
      for label in _default_labels(config, labels)
    ]
    generate, params = build_evaluation(config, folder, tokenizer)
  if hosts.is_first():
    output.mkdir(parents=True, exist_ok=True)
  results: dict[str, Any] = {}
  batch_size = config.evaluation.prompts_per_batch
  for split in splits:
    evaluation = evaluate_policy(
      _with_progress(generate, report_progress, split, batch_size),
      params,
      split.problems,
      split.task.verify,
      tokenizer,
      jax.random.fold_in(jax.random.key(config.seed), EVALUATION_KEY),
      prompt_length=config.rollout.prompt_length,
      prompt_buckets=config.rollout.prompt_buckets,
      prompts_per_batch=batch_size,
    )
    metrics = measure(evaluation)
    results[split.label] = {
      **split.spec._asdict(),
      "num_problems": len(split.problems),
      "metrics": metrics,
    }
    if hosts.is_first():
      _append_samples(output / SAMPLES_FILE, split, evaluation)
      _write_json(
        output / EVALUATION_FILE,
        evaluation_settings(config) | {"tasks": results},
      )
    yield split.label, metrics


def parse_task(label: str, config: Config) -> Spec:
  """Parse NAME[#LEVEL][:SPLIT][@FOLDER].

  Args:
    label: the task; parts that it leaves out come from the config.
    config: the settings.

  Raises:
    ValueError: the label has another form.
  """
  task = config.task
  default = Spec(
    task.name, task.difficulty, config.evaluation.split, task.data_dir
  )
  try:
    return parse_spec(label, default)
  except ValueError as error:
    raise ValueError(f"--task={error}") from None


def evaluation_settings(config: Config) -> dict[str, Any]:
  """Return the settings that the metrics depend on, and the template's name."""
  plain = config.prompt.template
  return {
    "seed": config.seed,
    "template": f"chat({plain})" if config.prompt.chat else plain,
    **{
      name: {leaf: config[name][leaf] for leaf in leaves}
      for name, leaves in _SETTINGS.items()
    },
  }


def check_evaluation_overrides(keys: Collection[str]) -> None:
  """Raise ValueError for the first setting that an evaluation does not read.

  Args:
    keys: the settings that the command line overrides, as 'section.leaf'.
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


def format_metrics(results: dict[str, dict[str, float]]) -> str:
  """Format metrics as a table with a line per metric and a column per task.

  Args:
    results: metrics by name, by the task's label.
  """
  names = next(iter(results.values()))
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
          for metrics in results.values()
        ),
      ]
    )
  return align([printable(label) for label in results], cells)


def _default_labels(config: Config, labels: Sequence[str]) -> Sequence[str]:
  """Return the labels, or the config's own task if there are none.

  Raises:
    ValueError: a label is given twice, or there is no task at all.
  """
  if not labels and not config.task.name:
    raise ValueError("task.name is not set, and there is no --task")
  twice = [label for label in labels if labels.count(label) > 1]
  if twice:
    raise ValueError(f"--task={twice[0]!r} is given twice")
  return labels or [f"{config.task.name}:{config.evaluation.split}"]


def _check_model_folder(path: str) -> Path:
  """Resolve model.path to a folder.

  Raises:
    ValueError: it is no folder, or it is a run directory.
  """
  folder = model_folder(path)
  if (folder / "checkpoints").is_dir() and not (
    folder / "tokenizer.json"
  ).exists():
    raise ValueError(
      f"model.path: {path} is a run directory: entrojax.export writes its "
      "policy as a model folder"
    )
  return folder


def _read_split(
  config: Config,
  label: str,
  tokenizer: Tokenizer,
  template: Callable[[str], str],
) -> TaskSplit:
  """Read a split of a task.

  Raises:
    ValueError: there is no such task or split, it is empty, or a prompt has
      more than rollout.prompt_length tokens.
  """
  spec = parse_task(label, config)
  try:
    task = open_task(config, spec)
    problems = load_problems(task, spec.split, template)
    if not len(problems):
      raise ValueError(f"split={spec.split!r} holds no problem")
    encode_prompts(problems, tokenizer, config.rollout.prompt_length)
  except ValueError as error:
    raise ValueError(f"{label}: {error}") from error
  return TaskSplit(label, spec, task, problems)


def _with_progress(
  generate: Generate,
  report_progress: ReportProgress,
  split: TaskSplit,
  batch_size: int,
) -> Generate:
  """Wrap `generate` to report how many prompts of the split are done."""
  done = itertools.count(0, batch_size)

  def run(params: Params, prompts: Prompts, key: Array) -> Rollout:
    report_progress(split.label, next(done), len(split.problems))
    return generate(params, prompts, key)

  return run


def _append_samples(
  path: Path, split: TaskSplit, evaluation: Evaluation
) -> None:
  """Append a line for every response, in the order of rows and samples."""
  with path.open("a") as file:
    for row, problem in enumerate(split.problems):
      responses = zip(
        evaluation.texts[row], evaluation.verdicts[row], strict=True
      )
      for sample, (text, verdict) in enumerate(responses):
        line = {
          "task": split.label,
          "row": row,
          "sample": sample,
          "prompt": problem.prompt,
          "response": text,
          **verdict._asdict(),
        }
        file.write(json.dumps(line) + "\n")


def _write_json(path: Path, content: dict[str, Any]) -> None:
  """Write a JSON file completely or not at all."""
  part = path.with_suffix(".part")
  part.write_text(json.dumps(content, indent=2) + "\n")
  part.replace(path)


def _print_progress() -> ReportProgress:
  """Build a function that prints a line of progress every few seconds."""
  last = time.monotonic()  # when the last line was printed

  def report_progress(label: str, done: int, count: int) -> None:
    nonlocal last
    if time.monotonic() - last >= _SECONDS and hosts.is_first():
      last = time.monotonic()
      print(f"{label}: {done}/{count} prompts", flush=True)

  return report_progress


@command(FLAGS, required=("config", "output"), settings="configs/default.py")
def main() -> None:
  """Evaluate and print the table of metrics."""
  config, output = _CONFIG.value, Path(_OUTPUT.value)
  join_processes(FLAGS)
  check_kind(config)
  check_evaluation_overrides(config_flags.get_override_values(FLAGS["config"]))
  results: dict[str, dict[str, float]] = {}
  try:
    for label, metrics in evaluate_model(
      config, _TASKS.value, output, report_progress=_print_progress()
    ):
      results[label] = metrics
      if hosts.is_first():
        print(f"evaluated {label}", flush=True)
  finally:
    if hosts.is_first() and results and len(results) < len(_TASKS.value):
      print(f"{output} holds the results of {', '.join(results)}")
  if not hosts.is_first():
    return
  template = evaluation_settings(config)["template"]
  print(f"model {config.model.path}, template {template}")
  print(format_metrics(results))
  print(f"done: {output / EVALUATION_FILE}")


if __name__ == "__main__":
  main()
