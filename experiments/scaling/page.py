"""Write the page of experiments/scaling from its kept lines."""

from collections.abc import Iterable, Iterator, Mapping
import math
from typing import NamedTuple

from experiments.scaling import large_run, lines
from experiments.scaling.points import AXES, BASE

_INTRODUCTION = f"""# How cost grows

`python -m experiments.scaling` writes this page from the lines that it keeps in
[results.jsonl](results.jsonl). One size grows at a time. The others are those
of a Qwen3 of four layers of width 128 with {BASE.sizes.vocabulary:,} words, on
{BASE.num_prompts} prompts with {BASE.group_size} responses of
{BASE.response_length} tokens each, in four micro-batches.

An exponent of 1 means that the cost grows as the size does, and of 0 that it
does not depend on the size. It is the slope between the last two values on
logarithmic axes, because fixed costs hide the growth at small sizes.
"""


class Kind(NamedTuple):
  """A way of measuring, with a table for each axis."""

  kind: str
  title: str
  text: str
  names: Mapping[str, str]  # of a line's costs -> the titles of the columns


KINDS = (
  Kind(
    lines.COUNTS,
    "Counted in the compiled graphs",
    "Exact, for one device, on a CPU. Memory is the peak while the part runs, "
    "parameters included. A rollout is the reading of the prompts and as many "
    "decoding steps as a response may have tokens. A step reads the whole "
    "cache. If the layers are in a scan (`model.scan_layers`), it reads only "
    "the filled part. The FLOPs grow faster than the length because "
    "a token attends to all tokens before it. The memory of an update grows "
    "faster still, because attention that is not fused holds the scores of all "
    "pairs of tokens of a micro-batch; fused attention on TPUs holds none. "
    "What a device exchanges in an update is the weights and the gradient, "
    "whatever the batch and the number of devices.",
    {
      "rollout_flops": "rollout, FLOP",
      "rollout_bytes": "rollout, memory",
      "update_flops": "update, FLOP",
      "update_bytes": "update, memory",
      "update_exchanged": "update, bytes exchanged",
    },
  ),
  Kind(
    lines.TIMES,
    "Measured",
    "CPU seconds of all threads, medians of three turns, on one device of two "
    "AMD EPYC cores beside other work, 2026-11-30.",
    {
      "rollout_seconds": "rollout",
      "update_seconds": "update",
      "evaluation_seconds": "evaluation of as many responses",
    },
  ),
)


def page(kept: lines.Lines) -> str:
  """Return the page."""
  parts = [_INTRODUCTION]
  for kind, title, text, names in KINDS:
    if not any(line["kind"] == kind for line in kept):
      continue
    parts.append(f"## {title}\n\n{text}\n")
    for axis in AXES:
      parts += _table(kept, kind, axis, names)
    parts += _verdicts(kept, kind)
  parts += _processes(kept)
  parts += _large_run()
  return "\n".join(parts)


def exponent(costs: Mapping[int, float]) -> float:
  """Return the slope between the last two values on logarithmic axes.

  Args:
    costs: value -> cost, in the order of the values.

  Returns:
    NaN if there are fewer than two values, or if one of the last two costs is
    not positive.
  """
  last = list(costs.items())[-2:]
  if len(last) < 2 or min(cost for _, cost in last) <= 0:
    return math.nan
  (x, a), (y, b) = last
  return math.log(b / a) / math.log(y / x)


def _table(
  kept: lines.Lines, kind: str, axis: str, names: Mapping[str, str]
) -> Iterator[str]:
  """Yield the table of an axis; nothing if it was not measured."""
  columns = {
    title: lines.column(kept, kind, axis, name) for name, title in names.items()
  }
  # one device exchanges nothing
  columns = {title: c for title, c in columns.items() if any(c.values())}
  if not columns:
    return
  values = list(next(iter(columns.values())))
  yield _row((AXES[axis].title, *columns))
  yield _row("---" for _ in range(len(columns) + 1))
  for value in values:
    cells = (_quantity(title, c[value]) for title, c in columns.items())
    yield _row((f"{value:,}", *cells))
  yield _row(
    ("**exponent**", *(f"**{_number(exponent(c))}**" for c in columns.values()))
  )
  yield ""


def _verdicts(kept: lines.Lines, kind: str) -> Iterator[str]:
  """Yield a sentence about the verdicts, whose times are too short to grow."""
  seconds = [
    line["verdicts_seconds"]
    for line in kept
    if line["kind"] == kind and "verdicts_seconds" in line
  ]
  if seconds:
    yield (
      "The text and the verdicts of a rollout take at most "
      f"{1e3 * max(seconds):.0f} ms in all of these.\n"
    )


def _processes(kept: lines.Lines) -> Iterator[str]:
  """Yield the table of several processes."""
  seconds = lines.column(kept, lines.PROCESSES, "processes", "seconds")
  memory = lines.column(kept, lines.PROCESSES, "processes", "bytes")
  if not seconds:
    return
  yield "## Several processes\n"
  yield (
    "The same run of the Countdown base (`configs/grpo.py:demo`) in processes "
    "of one device each, on the two hyperthreads of one core. Each process "
    "decodes and verifies the responses to its own prompts. Work beyond its "
    "share is waiting: a process that waits for another one in a collective "
    "keeps its thread busy, and here it takes time from the one it waits for. "
    "Four processes on these two threads made no second rollout step in "
    "minutes.\n"
  )
  yield "| processes | CPU s of a rollout step, each | in all | memory, each |"
  yield "| --- | --- | --- | --- |"
  for number, value in seconds.items():
    yield _row(
      (
        number,
        f"{value:.2f}",
        f"{number * value:.2f}",
        f"{memory[number] / 1e6:,.0f} MB",
      )
    )
  yield ""


def _large_run() -> Iterator[str]:
  """Yield what the laws say of a large run."""
  yield "## A run of 100,000 prompts on 4,096 chips\n"
  yield (
    "16 responses of up to 32k tokens to each prompt, half of that on average, "
    "Qwen2.5-7B, 16 slices of 256 v5p chips with the whole policy on each "
    "slice. This is arithmetic ([large_run.py](large_run.py)); nothing was run "
    "or compiled at this size.\n"
  )
  yield "| what | value | why |"
  yield "| --- | --- | --- |"
  yield from (_row(figure) for figure in large_run.figures())
  yield ""
  yield (
    "Neither the network between slices nor the hosts limit such a run: "
    "verification takes a host less than a second, and the sum of the "
    "gradients too. Sampling takes most of the time, because each of its steps "
    "reads all weights for a few rows, and because the longest response is "
    "waited for. More responses per chip, up to its memory, share the reading "
    "of the weights."
  )


def _row(cells: Iterable[object]) -> str:
  return f"| {' | '.join(map(str, cells))} |"


def _quantity(title: str, value: float) -> str:
  """Write a cost in the unit of its column."""
  if "FLOP" in title:
    return f"{value / 1e9:,.2f} G"
  if "memory" in title or "bytes" in title:
    return f"{value / 1e6:,.1f} MB"
  return f"{value:.3f} s"


def _number(value: float) -> str:
  return "–" if math.isnan(value) else f"{value:.2f}"
