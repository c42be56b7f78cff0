"""The writer of a run's metrics: one row to JSONL, TensorBoard and W&B.

A run directory holds `metrics.jsonl` with one JSON object per line:

    {"step": 12, "rollout_step": 6, "tokens": 98304, "actor/entropy": 0.41, ...}

`step` counts optimizer steps, `rollout_step` counts rollout batches and
`tokens` counts the tokens sampled so far. A value is a number or a list of
numbers. JSON has no NaN and no infinity, so both are written as null.
"""

from collections.abc import Mapping, Sequence
import json
import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from entrojax.metrics import ENTROPY_EDGES
from entrojax.reporting.run_logs import METRICS_FILE, Row, read_lines

TENSORBOARD_FOLDER = "tensorboard"
AXES = ("step", "rollout_step", "tokens")


class Sink(Protocol):
  """Where rows go."""

  def write(self, row: Row) -> None: ...

  def close(self) -> None: ...


class JsonlSink:
  """Writes a row a line and flushes it.

  Args:
    path: the file. A new run refuses one that already has lines.
    resumed_rollout_step: the rollout step of the checkpoint that the run goes
      on from; -1 to start over. Lines of later rollout steps are dropped, so
      that an interrupted run has none twice. None: a new run.

  Attributes:
    last_step: optimizer step of the last line kept, None where there is none.
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
      _replace_text(path, "".join(f"{text}\n" for text, _ in kept))
    self.last_step = max((row.get("step", 0) for _, row in kept), default=None)
    self._file = path.open("a", encoding="utf-8")

  def write(self, row: Row) -> None:
    finite = {name: _finite(value) for name, value in row.items()}
    self._file.write(json.dumps(finite, allow_nan=False) + "\n")
    self._file.flush()

  def close(self) -> None:
    self._file.close()


class TensorBoardSink:
  """Writes rows as TensorBoard events; the axis is the optimizer step.

  Lists that are not histograms over `ENTROPY_EDGES`, and numbers that are not
  finite, are left to the JSONL. TensorBoard shows `pass@8` as `pass_8`.

  Args:
    workdir: the run directory; events go to its folder `tensorboard`.
    purge_step: events of this optimizer step or later, which an interrupted
      run left, are hidden. None: hide nothing.
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
        if math.isfinite(value):
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
  """Writes rows to Weights & Biases; a resumed run goes on under its id.

  Args:
    workdir: the run directory, whose last part names the run. Its file
      `wandb_id` keeps the id; W&B passes over steps that it already has.
    project: the W&B project.
    config: the resolved config, nested.
  """

  def __init__(self, workdir: Path, *, project: str, config: Mapping[str, Any]):
    try:
      import wandb
    except ImportError as error:
      raise RuntimeError(
        "Weights & Biases was asked for but is not installed: "
        "`pip install wandb`, or leave it out"
      ) from error
    workdir = Path(workdir).resolve()
    id_file = workdir / "wandb_id"
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
  """Hands every row to every sink; a context manager.

  Of several processes only the first has sinks; without any, nothing happens.
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
    """Writes one row.

    Args:
      metrics: name -> number, array of one number, or list of numbers.
      step: optimizer steps taken.
      rollout_step: rollout batches used.
      tokens: tokens sampled so far.

    Returns:
      The row, in plain Python numbers.

    Raises:
      ValueError: a value is no number or list, or a name is an axis.
    """
    if clash := set(AXES) & set(metrics):
      raise ValueError(f"metrics may not be called {sorted(clash)}")
    axes = map(int, (step, rollout_step, tokens))
    row: Row = dict(zip(AXES, axes, strict=True))
    row |= {name: _plain(name, value) for name, value in metrics.items()}
    for sink in self._sinks:
      sink.write(row)
    return row

  def close(self) -> None:
    for sink in self._sinks:
      sink.close()

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
  """Opens the sinks of a run directory: JSONL and TensorBoard, W&B if asked.

  Args:
    workdir: the run directory, made if absent.
    resumed_rollout_step: see `JsonlSink`.
    wandb_project: the Weights & Biases project; None: no such sink.
    config: the resolved config, nested; only W&B stores it here.
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


def _plain(name: str, value: Any) -> int | float | list[float]:
  """Turns numbers of any library into Python's, or names what cannot be."""
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
  if isinstance(value, list):
    return [_finite(item) for item in value]
  return value if math.isfinite(value) else None


def _replace_text(path: Path, text: str) -> None:
  """Replaces a file in one step, so that a kill leaves the one or the other."""
  draft = path.with_name(path.name + ".tmp")
  draft.write_text(text, encoding="utf-8")
  draft.replace(path)
