"""Write a run's metrics to JSONL, TensorBoard and Weights & Biases.

A run directory holds `metrics.jsonl` with one JSON object per line. Each
rollout step and each evaluation writes its own line, so two lines may have the
same `step` and different metrics:

    {"step": 12, "rollout_step": 6, "tokens": 98304, "actor/entropy": 0.41, ...}

`step`, `rollout_step` and `tokens` count the optimizer steps, the rollout steps
and the sampled tokens of the run so far. In supervised learning a rollout step
is an optimizer step, and `tokens` counts the tokens read. A value is a number
or a list of numbers. A number that is NaN or infinite is left out of its row,
and null stands for it in a list. Only the JSONL has everything: TensorBoard
gets numbers and entropy histograms, W&B gets numbers, and only if
log.wandb_project is set.
"""

from collections.abc import Mapping, Sequence
import contextlib
import json
import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from entrojax.entropy.histogram import ENTROPY_EDGES
from entrojax.reporting.run_logs import METRICS_FILE, Row, read_lines
from entrojax.system.workdir import WANDB_ID_FILE, append_text, replace_text

TENSORBOARD_FOLDER = "tensorboard"
AXES = ("step", "rollout_step", "tokens")


class Sink(Protocol):
  """A place to which rows are written."""

  def write(self, row: Row) -> None: ...

  def close(self) -> None: ...


class JsonlSink:
  """Writes each row as one line at once.

  A line that cannot be written, as on a full disk, is kept in memory and
  written together with the next one.

  Args:
    path: the file. A new run refuses a file that already has lines.
    resumed_rollout_step: the rollout step of the checkpoint from which the run
      resumes, or -1 to start over. The lines of later rollout steps are
      dropped, so that an interrupted run has no line twice. None: a new run.

  Attributes:
    last_step: the optimizer step of the last line that was kept; None if no
      line was.
  """

  def __init__(self, path: Path, *, resumed_rollout_step: int | None = None):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = []
    if path.exists() and path.stat().st_size:
      if resumed_rollout_step is None:
        raise FileExistsError(
          f"{path} holds another run: resume it, or choose another directory"
        )
      kept = [
        (text, row)
        for text, row in read_lines(path)
        if row.get("rollout_step", 0) <= resumed_rollout_step
      ]
      replace_text(path, "".join(f"{text}\n" for text, _ in kept))
    if resumed_rollout_step is not None:
      _warn_of_gaps(path, [row for _, row in kept], resumed_rollout_step)
    self.last_step = max((row.get("step", 0) for _, row in kept), default=None)
    self._path = path
    self._lines: list[str] = []  # that are not in the file yet
    path.touch()

  def write(self, row: Row) -> None:
    finite = {name: _finite(value) for name, value in row.items()}
    self._lines.append(json.dumps(finite, allow_nan=False) + "\n")
    self._write_lines()

  def close(self) -> None:
    if self._lines:
      self._write_lines()

  def _write_lines(self) -> None:
    append_text(self._path, "".join(self._lines))
    self._lines = []


class TensorBoardSink:
  """Writes rows as TensorBoard events, over the optimizer step.

  Lists are only in the JSONL, apart from the histograms over `ENTROPY_EDGES`.
  TensorBoard shows `pass@8` as `pass_8`.

  Args:
    workdir: the run directory; events go to its folder `tensorboard`.
    purge_step: TensorBoard hides the events of this optimizer step and later
      ones, which an interrupted run left behind. None: it hides nothing.
  """

  def __init__(self, workdir: Path, *, purge_step: int | None = None):
    from tensorboardX import SummaryWriter

    self._writer = SummaryWriter(
      str(Path(workdir) / TENSORBOARD_FOLDER), purge_step=purge_step
    )

  def write(self, row: Row) -> None:
    for name, value in row.items():
      if name == "step":
        continue
      if not isinstance(value, list):
        self._writer.add_scalar(name, value, row["step"])
      elif len(value) == len(ENTROPY_EDGES) - 1 and sum(value) > 0:
        self._add_histogram(name, np.array(value), row["step"])
    self._writer.flush()

  def _add_histogram(self, name: str, counts: np.ndarray, step: int) -> None:
    edges = np.array(ENTROPY_EDGES)
    middles = (edges[:-1] + edges[1:]) / 2
    self._writer.add_histogram_raw(
      name,
      min=edges[0],
      max=edges[-1],
      num=counts.sum(),
      sum=counts @ middles,
      sum_squares=counts @ middles**2,
      bucket_limits=edges[1:].tolist(),
      bucket_counts=counts.tolist(),
      global_step=step,
    )

  def close(self) -> None:
    self._writer.close()


class WandbSink:
  """Writes rows to Weights & Biases; a resumed run keeps its id.

  Args:
    workdir: the run directory. Its last part names the run, and its file
      `wandb_id` keeps the id. W&B ignores steps that it already has, so a run
      that goes back to an earlier checkpoint removes the file.
    project: the W&B project.
    config: the resolved config, nested.
  """

  def __init__(self, workdir: Path, *, project: str, config: Mapping[str, Any]):
    try:
      import wandb
    except ImportError as error:
      raise RuntimeError(
        f"log.wandb_project={project!r} needs Weights & Biases, which is not "
        "installed: `pip install wandb`, or leave log.wandb_project unset"
      ) from error
    workdir = Path(workdir).resolve()
    id_file = workdir / WANDB_ID_FILE
    self._run = wandb.init(
      project=project,
      name=workdir.name,
      id=id_file.read_text() if id_file.exists() else None,
      dir=str(workdir),
      config=dict(config),
      resume="allow",
    )
    id_file.write_text(self._run.id)

  def write(self, row: Row) -> None:
    scalars = {k: v for k, v in row.items() if not isinstance(v, list)}
    self._run.log(scalars, step=row["step"])

  def close(self) -> None:
    self._run.finish()


class Writer:
  """Hands every row to every sink. Use it as a context manager.

  With several processes only the first has sinks. Without a sink nothing is
  written.
  """

  def __init__(self, sinks: Sequence[Sink]):
    self._sinks = tuple(sinks)

  def write(
    self,
    metrics: Mapping[str, Any],
    *,
    step: int,
    rollout_step: int,
    tokens: int,
  ) -> Row:
    """Write one row.

    Args:
      metrics: name -> number, array of one number, or list of numbers.
      step: the number of optimizer steps taken so far.
      rollout_step: the number of rollout steps taken so far.
      tokens: the number of tokens sampled so far.

    Returns:
      The row, in plain Python numbers, without those that are not finite.

    Raises:
      ValueError: a value is neither a number nor a list of numbers, or a
        metric has the name of an axis (step, rollout_step, tokens).
      OSError: a sink could not write the row; the others have it.
    """
    if clash := set(AXES) & set(metrics):
      raise ValueError(
        f"metrics may not be called {sorted(clash)}: these names count the "
        "steps and tokens of the run"
      )
    axes = map(int, (step, rollout_step, tokens))
    row: Row = dict(zip(AXES, axes, strict=True))
    plain = {name: _plain(name, value) for name, value in metrics.items()}
    row |= finite_numbers(plain)
    failure = None
    for sink in self._sinks:
      try:
        sink.write(row)
      except OSError as error:
        failure = failure or error
    if failure is not None:
      raise failure
    return row

  def close(self) -> None:
    with contextlib.ExitStack() as stack:  # closes the others if one fails
      for sink in self._sinks:
        stack.callback(sink.close)

  def __enter__(self) -> "Writer":
    return self

  def __exit__(self, *_) -> None:
    self.close()


def open_writer(
  workdir: Path | str,
  *,
  resumed_rollout_step: int | None = None,
  wandb_project: str | None = None,
  config: Mapping[str, Any] | None = None,
) -> Writer:
  """Open a run directory's JSONL and TensorBoard files and, if set, W&B.

  Args:
    workdir: the run directory, created if missing.
    resumed_rollout_step: see `JsonlSink`.
    wandb_project: the Weights & Biases project; None: nothing is sent to W&B.
    config: the resolved config, nested; only W&B uses it.
  """
  workdir = Path(workdir)
  jsonl = JsonlSink(
    workdir / METRICS_FILE, resumed_rollout_step=resumed_rollout_step
  )
  purge_step = None
  if resumed_rollout_step is not None:
    purge_step = 0 if jsonl.last_step is None else jsonl.last_step + 1
  sinks: list[Sink] = [jsonl, TensorBoardSink(workdir, purge_step=purge_step)]
  if wandb_project is not None:
    sinks.append(WandbSink(workdir, project=wandb_project, config=config or {}))
  return Writer(sinks)


def finite_numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
  """Return metrics without the numbers that are NaN or infinite."""
  return {
    name: value
    for name, value in metrics.items()
    if isinstance(value, list) or np.ndim(value) or np.isfinite(value)
  }


def _plain(name: str, value: Any) -> int | float | list[float]:
  """Convert a number or a list of any library to plain Python.

  Raises:
    ValueError: it is neither; the message names the metric.
  """
  array = np.asarray(value)
  if array.ndim == 0 and array.dtype.kind in "biu":
    return int(array)
  try:
    numbers = array.astype(np.float64)
  except (TypeError, ValueError):
    numbers = None
  if numbers is None or numbers.ndim > 1:
    raise ValueError(f"{name} is neither a number nor a list: {value!r}")
  return numbers.tolist()


def _finite(value: Any) -> Any:
  """Replace NaN and infinity, also within lists, by None."""
  if isinstance(value, list):
    return [_finite(item) for item in value]
  return value if math.isfinite(value) else None


def _warn_of_gaps(path: Path, rows: Sequence[Row], last: int) -> None:
  """Print a warning if a resumed run's file lacks lines of earlier steps."""
  present = {row.get("rollout_step") for row in rows}
  missing = [step for step in range(1, last + 1) if step not in present]
  if missing:
    print(
      f"warning: {path} has no lines for {len(missing)} of the {last} steps "
      f"before the checkpoint (the first is step {missing[0]}): they are lost",
      flush=True,
    )
