r"""Evaluate a model folder on tasks: pass@k, maj@k and all its responses.

    python -m entrojax.evaluate_model --config=configs/grpo.py \
        --config.model.path=my_model --output=evaluations/mine \
        --task='countdown:test' --task='math/gsm8k:test@data/gsm8k'

A task is NAME[#LEVEL][:SPLIT][@FOLDER]. LEVEL is its difficulty, from 1 = the
easiest, and FOLDER holds its data. Optional parts that are left out come from
the config. Without any --task the model is evaluated as in a run: on
evaluation.tasks if that is set, otherwise on the config's own task. The section
`evaluation` of the config sets the number of samples, temperature, top_k and
top_p, and its section `rollout` the lengths of prompts and responses.

The samples of a task depend on the model, the settings, the seed and the task's
rows. They do not depend on the other tasks of the command. The metrics of a
task equal those that a run reports before its first step, if the run starts
from the same model with the same settings and seed and evaluates on the same
task.

The command prints a table of the metrics. After each task it writes to the
folder --output

evaluation.json  the settings, the template's name, a digest of the model, and
                 the metrics by task
samples.jsonl    every response: task, row, sample, prompt, response, reward,
                 reason, answer (null: no answer was found)

An interrupted command leaves the results of the tasks that it has finished.
Repeat it to evaluate the others. A folder with results of other settings or
other weights, or with other files, is refused.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import copy
import itertools
from pathlib import Path
import time

from absl import flags
import jax
from ml_collections import ConfigDict as Config
from ml_collections import config_flags

from entrojax.assembly.check_evaluation import check_evaluation
from entrojax.assembly.check_values import check_kind
from entrojax.assembly.data import load_tokenizer, make_template
from entrojax.assembly.evaluation_files import (
  EVALUATION_FILE,
  append_samples,
  check_evaluation_overrides,
  check_weights,
  describe,
  evaluation_settings,
  is_done,
  keep_samples,
  read_results,
  write_results,
)
from entrojax.assembly.evaluation_sets import (
  EvaluationSet,
  Request,
  read_set,
  requested,
  requested_by_labels,
)
from entrojax.assembly.model import model_folder
from entrojax.assembly.samplers import build_evaluation
from entrojax.reporting.formatting import align, number, printable, with_error
from entrojax.rollouts.evaluation import (
  EVALUATION_KEY,
  evaluate_policy,
  measure,
)
from entrojax.rollouts.sampler import Generate
from entrojax.system import hosts
from entrojax.system.command_line import command
from entrojax.system.process_flags import define_process_flags, join_processes
from entrojax.system.workdir import (
  SAMPLES_FILE,
  check_processes,
  hold_workdir,
)
from entrojax.types import Array, Params, Prompts, Rollout

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
  "the folder to write; if it holds results of the same settings, the tasks "
  "that they have are not evaluated again",
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


def evaluate_model(
  config: Config,
  labels: Sequence[str],
  output: Path,
  *,
  report_progress: ReportProgress = lambda label, done, count: None,
) -> Iterator[tuple[str, dict[str, float]]]:
  """Evaluate a model on tasks, which share a sampler if their numbers agree.

  Args:
    config: its model, prompt, mesh, lengths and evaluation are read; not
      changed.
    labels: the tasks, each NAME[#LEVEL][:SPLIT][@FOLDER]; if there are none,
      evaluation.tasks, and without those the config's task and split.
    output: the folder to write; created if missing. The results of the same
      settings that it holds are kept.
    report_progress: called before each batch of prompts.

  Yields:
    (label, metrics by name) for each task, once its files are written.

  Raises:
    ValueError: a setting or a task cannot work, a split is empty, a prompt is
      too long, or the folder holds something else, such as results of other
      weights, or is held by another process. Raised before anything is sampled.
  """
  config = copy.deepcopy(config)
  config.lora.rank = 0  # evaluates the folder's own weights, without an adapter
  check_processes(
    config=config.to_dict(), tasks=list(labels), output=str(output)
  )
  with contextlib.ExitStack() as stack:
    with hosts.together():
      check_evaluation(config)
      read_results(output, evaluation_settings(config))
      if hosts.is_first():
        stack.enter_context(hold_workdir(output, "--output"))
    yield from _evaluate_held(config, labels, output, report_progress)


class Results(dict[str, dict[str, float]]):
  """Metrics by name, by the label of the task; a notebook shows a table."""

  def __repr__(self) -> str:
    return format_metrics(self)


def evaluate(config: Config, output: Path | str, *labels: str) -> Results:
  """Evaluate a model on tasks, and print the progress.

  Args:
    config: config.model.path names the model; see `evaluate_model`.
    output: the folder to write; it is resumed if it holds results.
    *labels: the tasks, each NAME[#LEVEL][:SPLIT][@FOLDER]; without any, those
      of the config.

  Raises:
    ValueError: as in `evaluate_model`.
  """
  steps = evaluate_model(
    config, labels, Path(output), report_progress=_print_progress()
  )
  return Results(steps)


def _evaluate_held(
  config: Config,
  labels: Sequence[str],
  output: Path,
  report_progress: ReportProgress,
) -> Iterator[tuple[str, dict[str, float]]]:
  """Do the work of `evaluate_model` while the folder is locked."""
  with hosts.together():
    results = read_results(output, evaluation_settings(config))
    folder = _check_model_folder(config.model.path)
    weights = check_weights(output, folder)
    tokenizer = load_tokenizer(config, folder)
    template = make_template(config, folder)
    parts = [
      read_set(config, request, tokenizer, template)
      for request in _requested(config, labels)
    ]
    missing = [part for part in parts if not is_done(part, results)]
    samplers, params = build_evaluation(
      config, folder, tokenizer, [part.num_samples for part in missing]
    )
  if hosts.is_first():
    keep_samples(output / SAMPLES_FILE, results)
  batch_size = config.evaluation.prompts_per_batch
  for part in parts:
    if part not in missing:
      yield part.label, results[part.label]["metrics"]
      continue
    evaluation = evaluate_policy(
      _with_progress(
        samplers[part.num_samples], report_progress, part, batch_size
      ),
      params,
      part.problems,
      part.task.verify,
      tokenizer,
      jax.random.fold_in(jax.random.key(config.seed), EVALUATION_KEY),
      prompt_length=config.rollout.prompt_length,
      prompt_buckets=config.rollout.prompt_buckets,
      prompts_per_batch=batch_size,
    )
    metrics = measure(evaluation)
    results[part.label] = {**describe(part), "metrics": metrics}
    if hosts.is_first():
      append_samples(output / SAMPLES_FILE, part, evaluation)
      settings = evaluation_settings(config) | weights
      write_results(output, settings, results)
    yield part.label, metrics


def format_metrics(results: dict[str, dict[str, float]]) -> str:
  """Format metrics as a table with a line per metric and a column per task.

  Args:
    results: metrics by name, by the task's label.
  """
  names: dict[str, None] = {}  # a task with more samples has more metrics
  for metrics in sorted(results.values(), key=len, reverse=True):
    names |= dict.fromkeys(metrics)
  cells = []
  for name in names:
    if name.endswith("_stderr"):
      continue
    unit = {"entropy": " (nats)", "response_length": " (tokens)"}.get(name, "")
    cells.append(
      [name + unit, *(_cell(metrics, name) for metrics in results.values())]
    )
  return align([printable(label) for label in results], cells)


def _cell(metrics: dict[str, float], name: str) -> str:
  """Format a metric for the table; "-" if the task does not have it."""
  if name not in metrics:
    return "-"
  if f"{name}_stderr" in metrics:
    return with_error(metrics[name], metrics[f"{name}_stderr"])
  return (with_error if "@" in name else number)(metrics[name])


def _requested(config: Config, labels: Sequence[str]) -> list[Request]:
  """Return the sets that labels name, or the config's if there are none.

  Raises:
    ValueError: a label is malformed or given twice, or there is no task at all.
  """
  if labels:
    return requested_by_labels(config, labels)
  if not config.evaluation.tasks and not config.task.name:
    raise ValueError("task.name is not set, and there is no --task")
  return requested(config)


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


def _with_progress(
  generate: Generate,
  report_progress: ReportProgress,
  part: EvaluationSet,
  batch_size: int,
) -> Generate:
  """Wrap `generate` to report how many prompts of the set are done."""
  done = itertools.count(0, batch_size)

  def run(params: Params, prompts: Prompts, key: Array) -> Rollout:
    report_progress(part.label, next(done), len(part.problems))
    return generate(params, prompts, key)

  return run


def _print_progress() -> ReportProgress:
  """Build a function that prints a line of progress every few seconds."""
  last = time.monotonic()  # when the last line was printed

  def report_progress(label: str, done: int, count: int) -> None:
    nonlocal last
    if time.monotonic() - last >= _SECONDS and hosts.is_first():
      last = time.monotonic()
      print(f"{label}: {done}/{count} prompts", flush=True)

  return report_progress


@command(
  FLAGS,
  required=("config", "output"),
  settings="configs/default.py",
  interrupted=(
    "Interrupted. Run the same command again to evaluate the other tasks."
  ),
)
def main() -> None:
  """Evaluate and print the table of metrics."""
  config, output = _CONFIG.value, Path(_OUTPUT.value)
  join_processes(FLAGS)
  check_kind(config)
  check_evaluation_overrides(config_flags.get_override_values(FLAGS["config"]))
  results: dict[str, dict[str, float]] = {}
  number = len(_TASKS.value or config.evaluation.tasks)
  try:
    for label, metrics in evaluate_model(
      config, _TASKS.value, output, report_progress=_print_progress()
    ):
      results[label] = metrics
      if hosts.is_first():
        print(f"evaluated {label}", flush=True)
  finally:
    if hosts.is_first() and results and len(results) < number:
      print(f"{output} holds the results of {', '.join(results)}")
  if not hosts.is_first():
    return
  template = evaluation_settings(config)["template"]
  print(f"model {config.model.path}, template {template}")
  print(format_metrics(results))
  print(f"done: {output / EVALUATION_FILE}")


if __name__ == "__main__":
  main()
