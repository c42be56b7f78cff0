r"""Evaluate finished runs at several sampling temperatures.

    python -m experiments.tournament.temperatures --workdir=runs/tournament \
        --entries="grpo,steps=3000;entropic,falling,steps=3000"

A higher temperature makes answers differ as well, without any training. So
entropy control is worth its cost only where it does better than sampling GRPO's
policy at another temperature. The command exports the policy of each finished
run of the entries below --workdir and evaluates it as the tournament does. A
JSON line for each run and temperature is kept in results/temperatures.jsonl,
and those that are kept are not made again:

    {
      "base": "countdown", "run": "grpo,steps=3000,seed=0",
      "temperature": 1.5, "metrics": {"entropy": 0.31, "pass@1": 0.35, ...}
    }

The entropy is measured on the distribution at the line's temperature.
"""

from collections.abc import Iterator, Mapping, Sequence
import copy
import json
from pathlib import Path
import tempfile
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict as Config

from entrojax.evaluate_model import evaluate_model
from entrojax.export import export
from entrojax.sweeps.unit_runs import read_done
from entrojax.system.command_line import command
from experiments.tournament.entries import Run
from experiments.tournament.lines import Line, kept_metrics
from experiments.tournament.options import (
  define_base,
  define_entries,
  define_results,
  define_workdir,
  split_names,
)
from experiments.tournament.runner import read_tournament

TEMPERATURES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
FILE = "temperatures.jsonl"

FLAGS = flags.FlagValues()
_BASE = define_base(FLAGS)
_WORKDIR = define_workdir(FLAGS)
_RESULTS = define_results(FLAGS)
_ENTRIES = define_entries(FLAGS, "none")


class Heated(NamedTuple):
  """The evaluation of a run's policy at a temperature.

  Attributes:
    base: a key of rule.BASES.
    run: the name of the run.
    temperature: at which responses were sampled.
    metrics: what a kept line has of an evaluation.
  """

  base: str
  run: str
  temperature: float
  metrics: Mapping[str, float | None]


def read_heated(folder: Path) -> list[Heated]:
  """Read the kept lines; none without the file.

  Raises:
    ValueError: a line is damaged.
  """
  path = folder / FILE
  if not path.exists():
    return []
  own = []
  texts = path.read_text(encoding="utf-8").splitlines()
  for number, text in enumerate(texts, start=1):
    try:
      own.append(Heated(**json.loads(text)))
    except (ValueError, TypeError) as error:
      raise ValueError(
        f"{path}:{number}: not an evaluation ({error}): remove the line, and "
        "it is made again"
      ) from error
  return own


def as_lines(
  lines: Mapping[str, Line], heated: Sequence[Heated], base: str
) -> dict[str, Line]:
  """Return the kept lines of runs with the ends that other temperatures have.

  Such a line belongs to the entry `hot_name`, and it has no start, so that the
  base is no point of a curve of them.

  Args:
    lines: the kept lines of the base by the names of their runs.
    heated: the evaluations, also of other bases.
    base: a key of rule.BASES.
  """
  own = {}
  for x in heated:
    line = lines.get(x.run)
    if x.base == base and line is not None:
      entry = hot_name(line.entry, x.temperature)
      name = f"{entry},seed={line.seed}"
      own[name] = line._replace(
        name=name, entry=entry, start={}, end=x.metrics, settings={}
      )
  return own


def hot_name(entry: str, temperature: float) -> str:
  """Return the name of an entry at a temperature."""
  return f"{entry},temperature={temperature:g}"


def evaluate_run(
  folder: Path, config: Config, temperatures: Sequence[float]
) -> Iterator[tuple[float, dict[str, float]]]:
  """Evaluate the newest policy of a run as the tournament does.

  Args:
    folder: the run directory.
    config: its settings; not changed.
    temperatures: at which responses are sampled.

  Yields:
    (temperature, metrics by name).
  """
  config = copy.deepcopy(config)
  with tempfile.TemporaryDirectory() as place:
    model = Path(place) / "model"
    export(folder, model)
    config.model.path = str(model)
    for temperature in temperatures:
      config.evaluation.temperature = temperature
      output = Path(place) / f"{temperature:g}"
      ((_, metrics),) = evaluate_model(config, [], output)
      yield temperature, metrics


def finished_runs(
  base: str, workdir: Path, results: Path, names: Sequence[str]
) -> Iterator[tuple[Run, Path, Config]]:
  """Yield the finished runs of entries, with their folders and settings.

  Raises:
    ValueError: an entry is unknown, or a kept line does not fit its settings.
  """
  tournament = read_tournament(base, workdir, results)
  own = {run.entry.name for run in tournament.runs}
  if unknown := [name for name in names if name not in own]:
    raise ValueError(f"--entries: there is no entry {unknown[0]!r}")
  for place, run in enumerate(tournament.runs):
    folder, config = tournament.sweep.folder(place), tournament.config(place)
    if run.entry.name in names and read_done(folder, config).finished:
      yield run, folder, config


@command(FLAGS, interrupted="Interrupted. The same command continues.")
def main() -> None:
  """Make the missing evaluations and keep them."""
  base, results = _BASE.value, Path(_RESULTS.value)
  names = split_names(_ENTRIES.value)
  have = {(x.base, x.run, x.temperature) for x in read_heated(results)}
  count = 0
  for run, folder, config in finished_runs(
    base, Path(_WORKDIR.value), results, names
  ):
    missing = [t for t in TEMPERATURES if (base, run.name, t) not in have]
    if not missing:
      continue
    for temperature, own in evaluate_run(folder, config, missing):
      metrics = kept_metrics(own)
      heated = Heated(base, run.name, temperature, metrics)
      _append(results / FILE, heated._asdict())
      print(f"{run.name} at {temperature:g}: {_short(metrics)}", flush=True)
      count += 1
  print(f"{count} evaluations kept in {results / FILE}")


def _append(path: Path, record: Mapping[str, Any]) -> None:
  text = json.dumps(record, separators=(",", ":"))
  with path.open("a", encoding="utf-8") as file:
    file.write(f"{text}\n")


def _short(metrics: Mapping[str, float | None]) -> str:
  names = ("entropy", "pass@1", "pass@64")
  return ", ".join(f"{name} {metrics[name]}" for name in names)


if __name__ == "__main__":
  main()
