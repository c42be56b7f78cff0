"""Show the progress of a run to the person who watches it.

On a terminal this is a live display: a bar over the rollout steps with the time
left, the latest numbers, the last evaluation, and a sparkline of the entropy.
Anywhere else (a log file, a notebook, a pipe) it is plain lines: one every few
rollout steps, one after the last step and one after each evaluation. pass@k is
shown with the rollout step after which it was measured, and in no other line.
The time left counts the steps and the evaluations that are still due; see
time_left.py.
"""

from collections.abc import Callable, Mapping
import math
import re
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from entrojax.arguments import require_at_least
from entrojax.reporting.time_left import TimeLeft
from entrojax.system.terminal import harmless

KEY_SCALARS = {  # label -> name of the metric
  "entropy": "actor/entropy",
  "reward": "critic/rewards/mean",
  "clipped": "actor/pg_clipfrac",
  "tokens/s": "perf/tokens_per_second",
}
_PASS = re.compile(r"val/(.+)/pass@(\d{1,9})", re.DOTALL)
_SAME = 1e-6  # a difference that float32 rounding can make
BLOCKS = "▁▂▃▄▅▆▇█"


class Progress:
  """Shows how far a run is. Use it as a context manager.

  Args:
    num_rollout_steps: the number of rollout steps of the whole run.
    first_rollout_step: the number of rollout steps that a resumed run had done
      before this process; 0 for a new run.
    every: a plain line is written every this many rollout steps. A terminal
      shows every step.
    evaluate_every: rollout steps between evaluations, for the time left; 0 =
      only one after the last step. None: there are no evaluations.
    unit: what a step is called in the display.
    scalars: label -> name of the metric.
    console: where to write; None means standard output.
    quiet: if True and no console is given, nothing is written.
    clock: returns the time in seconds, for the rate and the time left.

  Raises:
    ValueError: `every` is below 1.
  """

  def __init__(
    self,
    num_rollout_steps: int,
    *,
    first_rollout_step: int = 0,
    every: int = 1,
    evaluate_every: int | None = None,
    unit: str = "rollout",
    scalars: Mapping[str, str] = KEY_SCALARS,
    console: Console | None = None,
    quiet: bool = False,
    clock: Callable[[], float] = time.monotonic,
  ):
    require_at_least("log.every", every, 1)
    self._total = num_rollout_steps
    self._done = first_rollout_step
    self._every = every
    self._unit, self._labels = unit, scalars
    self._console = console or Console(quiet=quiet)
    self._clock = clock
    self._started = clock()
    self._left = TimeLeft(
      num_rollout_steps,
      first=first_rollout_step,
      now=self._started,
      evaluate_every=evaluate_every,
    )
    self._latest: dict[str, float] = {}
    self._evaluation = ""  # the last one
    self._entropies: list[float] = []
    terminal = self._console.is_terminal and not self._console.is_dumb_terminal
    self._live = (
      Live(
        get_renderable=self._render,
        console=self._console,
        refresh_per_second=2,
      )
      if terminal
      else None
    )

  def update(self, rollout_step: int, metrics: Mapping[str, Any]) -> None:
    """Show the metrics of a rollout step, or of an evaluation after it.

    Args:
      rollout_step: the number of rollout steps done so far.
      metrics: name -> number, as in metrics.jsonl. Metrics that have no label
        are ignored.
    """
    advanced = rollout_step > self._done
    self._done = rollout_step
    current = {
      label: float(value)
      for label, name in self._labels.items()
      if (value := metrics.get(name)) is not None
    }
    self._latest |= current
    if "entropy" in current:
      self._entropies.append(current["entropy"])
    due = rollout_step % self._every == 0 or rollout_step >= self._total
    evaluation = evaluation_text(metrics)
    if evaluation:
      self._left.evaluation(self._clock())
      self._evaluation = f"{evaluation}  ({self._unit} {rollout_step})"
    else:
      self._left.step(rollout_step, self._clock())
    if self._live:
      return
    if evaluation:
      self._print(self._line(evaluation))
    elif advanced and due:
      self._print(self._line(self._scalars()))

  def note(self, text: str) -> None:
    """Print a line of text above the display.

    The text may be anything, such as a sampled response: its markup and its
    control characters are shown, never obeyed.
    """
    self._print(harmless(text))

  def __enter__(self) -> "Progress":
    self._started = self._clock()
    if self._live:
      self._live.start(refresh=True)
    return self

  def __exit__(self, *_) -> None:
    if self._live:
      self._live.stop()

  def _print(self, text: str) -> None:
    # A Text is never parsed for markup, as a str would be.
    self._console.print(Text(text), soft_wrap=True, highlight=False)
    self._console.file.flush()

  def _scalars(self) -> str:
    return "  ".join(
      f"{label} {_number(self._latest[label])}"
      for label in self._labels
      if label in self._latest
    )

  def _time_left(self) -> str:
    """Format the time left."""
    seconds = self._left.seconds()
    return f"time left {'unknown' if seconds is None else duration(seconds)}"

  def _line(self, numbers: str) -> str:
    parts = [f"{self._unit} {self._done}/{self._total}", numbers]
    return "  ".join(filter(None, [*parts, self._time_left()]))

  def _render(self) -> Group:
    width = max(1, self._console.width)
    elapsed = duration(self._clock() - self._started)
    head = (
      f"{self._unit} {self._done}/{self._total}  elapsed {elapsed}, "
      f"{self._time_left()}"
    )
    bar = ProgressBar(
      total=max(1, self._total), completed=self._done, width=min(width, 60)
    )
    rows = [head, *filter(None, [self._scalars(), self._evaluation])]
    if self._console.encoding.startswith("utf"):
      blocks = sparkline(self._entropies, max(1, min(60, width - 8)))
      rows.append(f"entropy {blocks}")
    top, *rest = (Text(row, overflow="ellipsis", no_wrap=True) for row in rows)
    # A bar does not end its line; its padding does.
    return Group(top, Padding(bar, 0), *rest)


def evaluation_text(metrics: Mapping[str, Any]) -> str:
  """Format pass@1 and the largest pass@k of each data set; "" without any.

  The mean reward stands before them if it is not pass@1, which counts rewards
  of at least 1.

  Args:
    metrics: name -> number, as in metrics.jsonl.
  """
  by_data: dict[str, dict[int, float]] = {}
  for name, value in metrics.items():
    if match := _PASS.fullmatch(name):
      by_data.setdefault(match[1], {})[int(match[2])] = value
  parts = []
  for data, values in by_data.items():
    ks = sorted({min(values), max(values)})
    numbers = ", ".join(f"pass@{k} {_number(values[k])}" for k in ks)
    reward = metrics.get(f"val/{data}/reward")
    if reward is not None and abs(reward - values.get(1, reward)) > _SAME:
      numbers = f"mean reward {_number(reward)}, {numbers}"
    parts.append(f"{harmless(data)} {numbers}")
  return "  ".join(parts)


def sparkline(values: list[float], width: int) -> str:
  """Draw values as a line of at most `width` blocks, low to high.

  If there are more values than blocks, each block is the mean of an equal
  stretch of them. A stretch without a finite value is a blank.
  """
  length = min(width, len(values))
  means = []
  for i in range(length):
    start, end = i * len(values) // length, (i + 1) * len(values) // length
    finite = [v for v in values[start:end] if math.isfinite(v)]
    means.append(sum(finite) / len(finite) if finite else math.nan)
  finite = [mean for mean in means if math.isfinite(mean)]
  if not finite:
    return " " * length
  low, span = min(finite), max(finite) - min(finite)
  rank = lambda mean: (
    round((mean - low) / span * (len(BLOCKS) - 1)) if span else 0
  )
  return "".join(
    BLOCKS[rank(mean)] if math.isfinite(mean) else " " for mean in means
  )


def duration(seconds: float) -> str:
  """Format seconds as h:mm:ss."""
  minutes, second = divmod(round(seconds), 60)
  hours, minute = divmod(minutes, 60)
  return f"{hours}:{minute:02}:{second:02}"


def _number(value: float) -> str:
  if math.isnan(value):
    return "n/a"  # nothing was counted: no token, no group
  return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
