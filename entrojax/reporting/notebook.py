"""Read runs and draw them from Python, as the notebooks in colab/ do.

    run = entrojax.load_run("runs/grpo")
    run.metrics["actor/entropy"]
    entrojax.draw("runs/grpo", "runs/entropic")

Runs that differ only by their seed are one variant, drawn as a line with a band
that spans its seeds.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from entrojax.reporting import figures
from entrojax.reporting.find_runs import find_runs
from entrojax.reporting.pictures import Picture
from entrojax.reporting.run_logs import ENTROPY, Row, datasets, read_run
from entrojax.reporting.summary import format_table, summarize_variant
from entrojax.reporting.variants import Variant, group_runs

PASS_AT_K = "pass@k"
_LABELS = {
  ENTROPY: "policy entropy (nats per token)",
  "critic/rewards/mean": "mean reward",
}


@dataclasses.dataclass(frozen=True)
class LoadedRun:
  """What a run directory holds, for a notebook.

  Attributes:
    path: the run directory.
    config: the resolved config, nested.
    metrics: a column for each metric and a row for each line of metrics.jsonl,
      NaN where a line lacks a metric: a pandas DataFrame where pandas is
      installed, otherwise a dict of arrays.
    samples: sampled responses, each a dict with rollout_step, prompt, response,
      reward and reason.
  """

  path: Path
  config: Mapping[str, Any]
  metrics: Any
  samples: Sequence[Row]

  def __repr__(self) -> str:
    num_lines = len(self.metrics["step"])
    return f"run {self.path}: {num_lines} lines, {len(self.samples)} samples"


def load_run(workdir: Path | str) -> LoadedRun:
  """Load a run directory.

  Raises:
    FileNotFoundError: there is no metrics.jsonl; the message names its path.
    ValueError: a file is empty or malformed.
  """
  run = read_run(Path(workdir).name, workdir)
  return LoadedRun(run.path, run.config, _table(run.rows), run.samples)


def _table(rows: Sequence[Row]) -> Any:
  """Return rows as a DataFrame, or as a dict of arrays without pandas."""
  try:
    import pandas
  except ImportError:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _column([row.get(name) for row in rows]) for name in names}
  return pandas.DataFrame(rows)


def _column(values: Sequence[Any]) -> np.ndarray:
  """Return an array of numbers, NaN where one is missing, or of lists."""
  if any(isinstance(value, list) for value in values):
    column = np.empty(len(values), object)
    column[:] = values
    return column
  return np.array([np.nan if v is None else v for v in values])


@dataclasses.dataclass(frozen=True)
class Drawing:
  """A picture that a notebook shows below its cell and stores as PNG."""

  picture: Picture
  names: Sequence[str]  # of all variants

  def _repr_png_(self) -> bytes:
    """Return the picture as PNG; a notebook calls this."""
    from entrojax.reporting.static import to_png  # matplotlib takes a second

    return to_png(self.picture, self.names)

  def __repr__(self) -> str:
    labels = ", ".join(panel.label for panel in self.picture.panels)
    return f"picture of {labels}: {', '.join(self.names)}"


def draw(*runs: Path | str, what: str = ENTROPY) -> Drawing:
  """Draw one metric of runs, or their pass@k.

  Args:
    *runs: run directories, or folders with run directories below them, such as
      a sweep's work directory.
    what: the name of a metric in metrics.jsonl, drawn against the optimizer
      step; or "pass@k" for the first and the last evaluation of each run.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: a file is malformed, no run has the metric, or it is a list of
      numbers.
  """
  variants = _read_variants(runs)
  rows = (row for v in variants for run in v.runs for row in run.rows)
  if any(isinstance(row.get(what), list) for row in rows):
    raise ValueError(
      f"{what!r} is a list of numbers in each step, which is not one curve: "
      "the page of entrojax.report draws what such lists hold"
    )
  picture = _picture(variants, what)
  if picture is None:
    metrics = sorted(
      set().union(*(r.metrics for v in variants for r in v.runs))
    )
    raise ValueError(
      f"no run has {what!r}; the metrics are {', '.join(metrics)}"
    )
  return Drawing(picture, [variant.name for variant in variants])


def _picture(variants: Sequence[Variant], what: str) -> Picture | None:
  """Return the picture of a metric, or of pass@k on the first data set."""
  if what != PASS_AT_K:
    return figures.draw_metric(
      variants,
      metric=what,
      label=_LABELS.get(what, what),
      smoothing=0.02,
      targets=what == ENTROPY,
    )
  data = datasets([run for variant in variants for run in variant.runs])
  return figures.draw_at_k(variants, data=data[0]) if data else None


class Table(str):
  """A text that a notebook shows as it is, without quotes."""

  __slots__ = ()

  def __repr__(self) -> str:
    return str(self)


def compare(*runs: Path | str) -> Table:
  """Build the table that compares runs: entropy, reward and pass@k.

  Args:
    *runs: run directories, or folders with run directories below them.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: a file is malformed.
  """
  variants = _read_variants(runs)
  return Table(format_table({v.name: summarize_variant(v) for v in variants}))


def _read_variants(runs: Sequence[Path | str]) -> Sequence[Variant]:
  """Read runs and group those that differ only by their seed."""
  if not runs:
    raise ValueError("name at least one run directory")
  paths = find_runs([str(run) for run in runs])
  return group_runs([read_run(name, path) for name, path in paths.items()])
