"""The kept result of a run: one JSON line, small enough for the repository.

    {
      "name": "clip_cov,seed=0", "entry": "clip_cov", "method": "clip_cov",
      "seed": 0, "steps": 200,
      "settings": {"clip_cov.fraction": 0.02, ...},
      "start": {"entropy": 0.511, "pass@1": 0.228, ...},
      "end": {"entropy": 0.337, "pass@1": 0.306, ...},
      "right": {"num_samples": 64, "prompts": "9f1c...", "counts": "AAMB..."},
      "course": {"actor/entropy": [0.509, ...], "actor/ppo_kl": [...], ...},
      "seconds": {"step": 0.31, "steps": 64.0}, "commit": "0123abcd...",
      "versions": {"jax": "0.10.2", ...}, "cores": 2
    }

`settings` are the settings that differ from the record of the base's settings,
which lies beside the lines. `start` and `end` are the evaluations before the
first and after the last rollout step, without their standard errors. `counts`
are the numbers of right answers to each prompt in the last evaluation, a byte
each, in base64. `course` has means over equal parts of the run: as many as
divide it, at most FINE for entropy and reward, to which a law is fitted, and
COARSE for the rest. Lines that were kept before 2026-11-30 always have so many;
if they do not divide the rollout steps, the first parts have one more.
`seconds` are the median of a rollout step and the sum of all of them. They
depend on the machine and its other work, and the median is null for many runs,
so the page has times of times.py instead.
"""

import base64
from collections.abc import Mapping, Sequence
import fnmatch
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from entrojax.reporting.run_logs import (
  RightAnswers,
  RunLog,
  datasets,
  evaluations,
)
from experiments.tournament.entries import Run

FINE, COARSE = 60, 10
DIGITS = 5  # significant digits of all kept numbers
# the metrics of rollout steps whose course is kept, if the run has them
_FINE = ("actor/entropy", "critic/rewards/mean")
COURSE = (
  *_FINE,
  *("response_length/mean", "actor/ppo_kl", "actor/pg_clipfrac"),
  *("critic/groups/all_right", "critic/groups/all_wrong"),
  *("covariance/mean", "covariance/predicted_change"),
  "covariance/predicted_change_weighted",
  *("covariance/positive_probable", "covariance/positive_rare"),
  *("covariance/negative_probable", "covariance/negative_rare"),
  *("entropy/positive", "entropy/negative"),
  *("control/coefficient", "control/error", "control/saturated"),
  *("rollout/tokens", "seed_grpo/*", "dynamic_sampling/batches"),
  *("response_length/clip_ratio", "critic/parts/*"),
  # of each member: the share of tokens it touches, the change of the gradient
  *("*/gradient_touched", "*/gradient_change"),
)
# what is kept of an evaluation
_EVALUATION = (
  *("pass@*", "maj@*", "entropy", "response_length", "truncated"),
  *("distinct_correct", "distinct_2", "parts/*"),
)


class Line(NamedTuple):
  """The kept result of a run; the module's docstring describes the fields."""

  name: str
  entry: str
  method: str
  seed: int
  steps: int
  settings: Mapping[str, Any]
  start: Mapping[str, float | None]
  end: Mapping[str, float | None]
  right: Mapping[str, Any]
  course: Mapping[str, Sequence[float | None]]
  seconds: Mapping[str, float | None]
  commit: str | None
  versions: Mapping[str, str]
  cores: int | None

  def counts(self) -> np.ndarray:
    """Return the number of right answers to each prompt, i64[Q]."""
    data = base64.b64decode(self.right["counts"])
    return np.frombuffer(data, np.uint8).astype(np.int64)


def line_of(run: Run, log: RunLog, settings: Mapping[str, Any]) -> Line:
  """Make the line of a finished run.

  Args:
    run: the run.
    log: its run directory.
    settings: 'section.key' -> value, what differs from the recorded base.

  Raises:
    ValueError: the directory has no evaluation at its end, or several data
      sets.
  """
  names = datasets([log])
  if len(names) != 1 or not log.right_answers:
    raise ValueError(
      f"{log.path} must have one evaluated data set, but has {names or 'none'}"
    )
  first, last = evaluations(log, names[0])
  if last is None or last["step"] != log.rows[-1]["step"]:
    raise ValueError(
      f"{log.path} has no evaluation after its last step: it was interrupted; "
      "train it again with the same settings, which makes up for it"
    )
  provenance = log.provenance or {}
  steps = [row for row in log.rows if "timing_s/step" in row]
  times = [row["timing_s/step"] for row in steps]
  return Line(
    name=run.name,
    entry=run.entry.name,
    method=run.entry.method,
    seed=run.seed,
    steps=run.entry.steps,
    settings=settings,
    start=_evaluation(first or {}, names[0]),
    end=_evaluation(last, names[0]),
    right=_encode(log.right_answers[-1]),
    course=course(steps),
    seconds=_round({"step": float(np.median(times)), "steps": sum(times)}),
    commit=provenance.get("commit"),
    versions=provenance.get("versions", {}),
    cores=provenance.get("devices", {}).get("cores"),
  )


def part_lengths(line: Line, metric: str) -> np.ndarray:
  """Return the rollout steps in each part of a metric's course, i64[K]."""
  parts = np.array_split(range(line.steps), len(line.course[metric]))
  return np.array([len(part) for part in parts])


def part_middles(line: Line, metric: str) -> np.ndarray:
  """Return the middle of each part, in rollout steps, f64[K]."""
  lengths = part_lengths(line, metric)
  return np.cumsum(lengths) - lengths / 2


def course(
  rows: Sequence[Mapping[str, float]],
) -> dict[str, list[float | None]]:
  """Average metrics over equal parts of a run.

  Args:
    rows: the lines of its rollout steps; there may be fewer than parts.
  """
  names = sorted({name for row in rows for name in row})
  kept: dict[str, list[float | None]] = {}
  for metric in (m for p in COURSE for m in fnmatch.filter(names, p)):
    values = np.array([row.get(metric, np.nan) for row in rows])
    number = _num_parts(len(rows), FINE if metric in _FINE else COARSE)
    parts = np.split(values, number)
    kept[metric] = [_short(_mean(part)) for part in parts]
  return kept


def _num_parts(steps: int, most: int) -> int:
  """Return the largest divisor of the steps that is not above `most`."""
  return max(n for n in range(1, most + 1) if steps % n == 0)


def read_lines(path: Path) -> dict[str, Line]:
  """Read the kept lines by the names of their runs; none without the file.

  Raises:
    ValueError: a line is damaged, or two lines have one name.
  """
  if not path.exists():
    return {}
  lines: dict[str, Line] = {}
  texts = path.read_text(encoding="utf-8").splitlines()
  for number, text in enumerate(texts, start=1):
    try:
      line = Line(**json.loads(text))
      line.counts()
    except (ValueError, TypeError, KeyError) as error:
      raise ValueError(
        f"{path}:{number}: not the line of a run ({error}): remove it, and the "
        "run is made again"
      ) from error
    if line.name in lines:
      raise ValueError(
        f"{path}:{number}: a second line of {line.name}: remove one of the two"
      )
    lines[line.name] = line
  return lines


def append_line(path: Path, line: Line) -> None:
  """Append a line. A process that is killed leaves a whole line or none."""
  path.parent.mkdir(parents=True, exist_ok=True)
  text = json.dumps(line._asdict(), separators=(",", ":"))
  with path.open("a", encoding="utf-8") as file:
    file.write(text + "\n")


def _evaluation(row: Mapping[str, float], data: str) -> dict[str, float | None]:
  """Return what is kept of an evaluation."""
  prefix = f"val/{data}/"
  own = {
    name.removeprefix(prefix): value
    for name, value in row.items()
    if name.startswith(prefix)
  }
  return kept_metrics(own)


def kept_metrics(metrics: Mapping[str, float]) -> dict[str, float | None]:
  """Return what is kept of the metrics of an evaluation."""
  return _round(
    {
      name: value
      for name, value in metrics.items()
      if any(fnmatch.fnmatchcase(name, pattern) for pattern in _EVALUATION)
      and not name.endswith("_stderr")
    }
  )


def _encode(answers: RightAnswers) -> dict[str, Any]:
  """Return the counts of right answers as text.

  Raises:
    ValueError: a count does not fit into a byte.
  """
  if answers.num_samples > 255:
    raise ValueError(
      f"{answers.num_samples} samples per prompt: the kept line has a byte for "
      "each count, so at most 255"
    )
  counts = base64.b64encode(answers.right.astype(np.uint8).tobytes())
  return {
    "num_samples": answers.num_samples,
    "prompts": answers.prompts,
    "counts": counts.decode(),
  }


def _mean(values: np.ndarray) -> float:
  """Average the finite values; NaN without any."""
  finite = values[np.isfinite(values)]
  return float(finite.mean()) if finite.size else float("nan")


def _round(values: Mapping[str, float]) -> dict[str, float | None]:
  return {name: _short(value) for name, value in values.items()}


def _short(value: float) -> float | None:
  """Round to DIGITS significant digits; None for NaN, as JSON has none."""
  return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None
