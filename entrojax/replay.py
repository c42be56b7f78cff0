"""Push one kept rollout batch through several methods, and compare their steps.

    python -m entrojax.main --config=configs/grpo.py --workdir=runs/grpo \
        --config.log.keep_batches="(100,)"
    python -m entrojax.replay runs/grpo --batch=100 \
        --configs=configs/grpo.py,configs/kl_cov.py,configs/entropic.py

A folder in --configs stands for all its files that define a METHOD, so that
--configs=configs replays every method.

The run provides the batch, the parameters and Adam's moments, and also its
model, task, rollout and optimizer. From each config come the advantage
rules, the objective, the aggregation, the controller and the projection, with
their settings. Each method takes one optimizer step on the whole batch.
Attention is computed without fused kernels, because they have no second
derivative. A method that cannot take a step on this batch is named and left
out. Graphs are kept in the compilation cache, so that the same command, if it
was interrupted, soon reaches the method that it was at.

The command prints a line for each method, with the norm of the gradient and of
the step, the entropy change that the step predicts to first order and the one
that is measured on the batch's tokens, and the share of tokens that its members
touch; and two matrices: the cosines between gradients, and the overlaps of the
touched tokens. --output writes the same as a page, and --picture draws the
cosines.
"""

from collections.abc import Mapping, Sequence
import math
from pathlib import Path
import re
import runpy
import sys
from typing import TYPE_CHECKING, Any
import warnings

from absl import flags

from entrojax.reporting.formatting import align, number, percent
from entrojax.reporting.html_tables import html_table, matrix_html
from entrojax.reporting.page_parts import Card, Figures, chapter, frame
from entrojax.system.command_line import command
from entrojax.system.workdir import hold_file, read_config

if TYPE_CHECKING:
  from ml_collections import ConfigDict as Config

  from entrojax.instruments.replay import MethodStep

FLAGS = flags.FlagValues()
_BATCH = flags.DEFINE_integer(
  "batch", None, "the rollout step of the batch, from 1", flag_values=FLAGS
)
_CONFIGS = flags.DEFINE_list(
  "configs",
  None,
  "config files of the methods, each with words after a colon, if needed; a "
  "folder is all methods in it",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output", "", "the HTML file to write", flag_values=FLAGS
)
_PICTURE = flags.DEFINE_string(
  "picture", "", "the SVG file to draw the cosines in", flag_values=FLAGS
)

# the sections that all methods take from the run
_OF_THE_RUN = (
  *("seed", "model", "lora", "task", "prompt", "mesh", "rollout", "optimizer"),
)
_HEAD = (
  "method",
  "gradient norm",
  "step norm",
  "predicted, 1e-4 nats",
  "measured, 1e-4 nats",
  "touched",
)


def config_files(names: Sequence[str]) -> list[str]:
  """Replace each folder by its files that define a METHOD, by name.

  Raises:
    ValueError: a file does not exist, or a folder has no such file.
  """
  files = []
  for name in names:
    if not Path(name).is_dir():
      if not Path(path := name.partition(":")[0]).is_file():
        raise ValueError(f"--configs: {path} is not a file")
      files.append(name)
      continue
    methods = [
      str(path)
      for path in sorted(Path(name).glob("*.py"))
      if re.search(r"^METHOD = ", path.read_text(), re.M)
    ]
    if not methods:
      raise ValueError(f"--configs: no file in {name} defines a METHOD")
    files += methods
  return files


def load_config(name: str) -> "Config":
  """Load a config file, with words after a colon.

  Raises:
    ValueError: the file has no get_config.
  """
  path, _, words = name.partition(":")
  get_config = runpy.run_path(path).get("get_config")
  if get_config is None:
    raise ValueError(f"--configs: {path} has no function get_config")
  return get_config(words) if words else get_config()


def method_config(name: str, run: Mapping[str, Any]) -> "Config":
  """Return the settings with which a method replays a run's batch.

  Args:
    name: the config file of the method.
    run: config.json of the run, nested.
  """
  config = load_config(name)
  for section in _OF_THE_RUN:
    if isinstance(run[section], Mapping):
      config[section].update(run[section])
    else:
      config[section] = type(config[section])(run[section])
  config.model.fused_attention = False
  config.training.update({"updates_per_rollout": 1, "num_epochs": 1})
  config.training.num_microbatches = run["training"]["num_microbatches"]
  config.training.response_buckets = ()  # may not fit the run's lengths
  for section in (config.model, config.training):
    if isinstance(section.rematerialise, str):  # may be for fused attention
      section.rematerialise = True
  config.dynamic_sampling.enabled = False
  for key in ("tasks", "split"):  # nothing is evaluated, but they are read
    config.evaluation[key] = run["evaluation"][key]
  return config


def method_name(name: str) -> str:
  """Return the short name of a config file with its words."""
  path, _, words = name.partition(":")
  return f"{Path(path).stem}:{words}" if words else Path(path).stem


def replay_methods(
  workdir: Path, batch: int, configs: Sequence[str]
) -> tuple[list["MethodStep"], dict[str, str]]:
  """Take the step of each method on a kept batch.

  Args:
    workdir: the run directory.
    batch: the rollout step of the batch, from 1.
    configs: the config files of the methods.

  Returns:
    The steps, and why the other methods cannot take one, by config.

  Raises:
    ValueError: the batch was not kept, or no config can be used.
  """
  from entrojax.assembly.run import build
  from entrojax.instruments.kept_batches import read_batch
  from entrojax.instruments.replay import replay

  kept = read_batch(workdir, batch)
  settings = read_config(workdir)
  steps: list[MethodStep] = []
  left_out: dict[str, str] = {}
  measuring = None
  for name in configs:
    try:
      with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about schedules, as there is one step
        run = build(method_config(name, settings))
      step = replay(method_name(name), run, measuring or run, kept)
    except Exception as error:  # one method must not cost all others
      left_out[name] = f"{type(error).__name__}: {error}".splitlines()[0]
      print(f"left out: {name}: {left_out[name]}", file=sys.stderr, flush=True)
      continue
    measuring = measuring or run
    steps.append(step)
    print(_line_of(step), file=sys.stderr, flush=True)
  if not steps:
    raise ValueError("; ".join(left_out.values()))
  return steps, left_out


def _line_of(step: "MethodStep") -> str:
  """Format the line of progress about a step, with its numbers."""
  pairs = zip(_HEAD, step_rows([step])[0], strict=True)
  return "; ".join(f"{head}: {text}" for head, text in pairs)


def step_rows(steps: Sequence["MethodStep"]) -> list[list[str]]:
  """Format a line for each method, below the heads of _HEAD."""
  return [
    [
      step.name,
      number(step.gradient_norm),
      number(step.update_norm),
      f"{1e4 * step.predicted:+.3f}",
      f"{1e4 * step.measured:+.3f}",
      percent(step.touched),
    ]
    for step in steps
  ]


def matrix_rows(names: Sequence[str], matrix: Any) -> list[list[str]]:
  """Format a matrix between methods, a line for each method."""
  cell = lambda x: f"{x:.3f}" if math.isfinite(x) else number(x)
  return [
    [name, *map(cell, row)] for name, row in zip(names, matrix, strict=True)
  ]


@command(
  FLAGS,
  required=("batch", "configs"),
  arguments={"RUN": "a run directory with a kept batch"},
)
def main(workdir: str) -> None:
  """Replay the batch, and print and write the tables."""
  from entrojax.instruments.replay import cosines, overlaps

  batch, files = _BATCH.value, _CONFIGS.value
  assert batch is not None and files is not None  # both are required
  steps, _ = replay_methods(Path(workdir), batch, config_files(files))
  names = [step.name for step in steps]
  matrices = {
    "Cosines between gradients": cosines(steps),
    "Overlap of touched tokens": overlaps(steps),
  }
  lines = step_rows(steps)
  print(f"\nSteps\n{align(_HEAD[1:], lines)}")
  for title, matrix in matrices.items():
    print(f"\n{title}\n{align(names, matrix_rows(names, matrix))}")
  if _OUTPUT.value:
    title = f"Batch {batch} of {workdir}"
    cards = [Card("Steps", html_table(_HEAD, lines))]
    cards += [Card(name, matrix_html(names, m)) for name, m in matrices.items()]
    chapters = [chapter(f"{len(names)} methods", cards)]
    page = frame((), title, chapters, Figures([]))
    path = Path(_OUTPUT.value)
    with hold_file(path):
      path.write_text(page, encoding="utf-8")
  if _PICTURE.value:
    # imported here, as the package does not depend on matplotlib
    from entrojax.reporting.static import matrix_to_svg

    drawing = matrix_to_svg(names, next(iter(matrices.values())))
    path = Path(_PICTURE.value)
    with hold_file(path):
      path.write_text(drawing)


if __name__ == "__main__":
  main()
