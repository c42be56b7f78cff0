"""Format the tables of a report: settings, summary, differences, samples.

Each function takes the variants of a page and returns HTML, in which all text
of the runs is escaped.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
import json
import math
import shlex
from typing import Any

from entrojax.reporting.differences import Comparison
from entrojax.reporting.formatting import number, over_seeds, with_interval
from entrojax.reporting.html_tables import html_table
from entrojax.reporting.run_logs import Row
from entrojax.reporting.summary import SummaryRows, cell, summary_lines
from entrojax.reporting.variants import Variant, differing_settings
from entrojax.system import provenance
from entrojax.system.terminal import harmless

_SAMPLES = 8  # prompts of an evaluation set whose responses a page shows
_SAMPLE_LENGTH = 1500  # characters
_NOT_RECORDED = f"not recorded (no {provenance.FILE})"


def settings_table(variants: Sequence[Variant]) -> str:
  """Format the settings in which the variants differ, and their seeds."""
  settings = differing_settings(variants)
  lines = []
  for index, variant in enumerate(variants):
    has_config = bool(variant.runs[0].config)
    seeds = ", ".join(str(run.seed) for run in variant.runs)
    lines.append(
      [
        variant.name,
        seeds if has_config else "no config.json",
        *(
          _value(values[index]) if has_config else "–"
          for values in settings.values()
        ),
      ]
    )
  return html_table(["variant", "numbers of the seeds", *settings], lines)


def _value(value: Any) -> str:
  return value if isinstance(value, str) else json.dumps(value)


def summary_table(rows: SummaryRows) -> str:
  """Format the summary of variants, a line for each."""
  columns = summary_lines(rows.values())
  columns = dict(sorted(columns.items(), key=lambda item: _rank(item[0])))
  lines = [
    [name, *(cell(row, keys) for keys in columns.values())]
    for name, row in rows.items()
  ]
  return html_table(["variant", *columns], lines)


def _rank(label: str) -> int:
  """Return the place of a column: pass@1, then the entropy, then the others."""
  if label.endswith("pass@1"):
    return 0
  if "entropy" in label:
    return 1
  return 2 if "pass@" in label else 3


def differences_table(
  comparisons: Sequence[Comparison], variants: Sequence[Variant]
) -> str:
  """Format the differences to the baseline, a line for each variant."""
  ks = sorted({k for c in comparisons for k in c.k.tolist()})
  lines = []
  for comparison in comparisons:
    intervals = dict(
      zip(comparison.k.tolist(), comparison.intervals, strict=True)
    )
    lines.append(
      [
        variants[comparison.variant].name,
        *(
          with_interval(intervals[k].mean, intervals[k][1:])
          if k in intervals
          else "–"
          for k in ks
        ),
        number(comparison.seeds),
        number(comparison.prompts),
        number(comparison.step),
      ]
    )
  heads = [f"pass@{k}" for k in ks]
  return html_table(["variant", *heads, "seeds", "prompts", "step"], lines)


def last_values_table(variants: Sequence[Variant]) -> str:
  """Format the last value of every metric, as a mean over the seeds."""
  last = [
    [{k: v for row in run.rows for k, v in row.items()} for run in v.runs]
    for v in variants
  ]
  names = sorted({name for runs in last for row in runs for name in row})
  lines = [
    [name, *(_last_value([row.get(name) for row in runs]) for runs in last)]
    for name in names
  ]
  return html_table(["metric", *(variant.name for variant in variants)], lines)


def _last_value(values: Sequence[float | list[float] | None]) -> str:
  """Format the last value of a metric for each seed; None: it has no value."""
  if lists := [value for value in values if isinstance(value, list)]:
    return f"{len(lists[0])} bins, sum {number(math.fsum(lists[0]))}"
  numbers = [value for value in values if isinstance(value, int | float)]
  return over_seeds([(value, number(value)) for value in numbers or [math.nan]])


def samples_html(variants: Sequence[Variant]) -> str:
  """Format some responses of the last evaluation, prompt by prompt.

  Of each variant the run with the lowest seed is shown.
  """
  by_prompt: dict[tuple[str, str], list[list[str]]] = {}
  for variant in variants:
    samples = variant.runs[0].samples
    last = max((row["rollout_step"] for row in samples), default=None)
    for row in samples:
      if row["rollout_step"] == last:
        key = (str(row.get("task", "")), str(row["prompt"]))
        by_prompt.setdefault(key, []).append(_sample_cells(variant.name, row))
  parts: list[str] = []
  shown: Counter[str] = Counter()
  head = ["variant", "reward", "verdict", "response"]
  for (task, prompt), lines in by_prompt.items():
    shown[task] += 1
    if shown[task] <= _SAMPLES:
      title = f"{task}: {_shown(prompt)}" if task else _shown(prompt)
      parts.append(
        f'<details class="sample"{"" if parts else " open"}>'
        f"<summary>{escape(title)}</summary>{html_table(head, lines)}</details>"
      )
  return "".join(parts)


def _sample_cells(name: str, row: Row) -> list[str]:
  reward = row.get("reward")
  shown = number(reward) if isinstance(reward, int | float) else "–"
  return [name, shown, str(row.get("reason", "")), _shown(str(row["response"]))]


def _shown(text: str) -> str:
  """Shorten a text, with its control characters escaped but not its lines."""
  rest = len(text) - _SAMPLE_LENGTH
  lines = [harmless(line) for line in text[:_SAMPLE_LENGTH].split("\n")]
  return "\n".join(lines) + (
    f"… ({rest:,} more characters)" if rest > 0 else ""
  )


def provenance_table(variants: Sequence[Variant]) -> str:
  """Format how each run was started and with which versions and devices."""
  lines = [
    [run.name, *_provenance_cells(run.provenance)]
    for variant in variants
    for run in variant.runs
  ]
  head = [
    "run",
    "command",
    "settings that are not the default",
    "commit",
    "devices",
    "versions",
  ]
  return html_table(head, lines)


_PROVENANCE = (
  *("command", "settings that are not the default"),
  *("commit", "devices", "versions"),
)


def _provenance_cells(record: Mapping[str, Any] | None) -> list[str]:
  if record is None:
    return [_NOT_RECORDED, "–", "–", "–", "–"]
  settings = record.get("settings") or {}
  devices = record.get("devices") or {}
  versions = record.get("versions") or {}
  times = len(record.get("resumed") or ())
  command = shlex.join(map(str, record.get("command") or ()))
  return [
    command + (f" (resumed {times} times)" if times else ""),
    ", ".join(f"{key}={_value(value)}" for key, value in settings.items()),
    str(record.get("commit") or "unknown: not in a git checkout")[:19],
    f"{devices.get('count', '?')} × {devices.get('kind', '?')} "
    f"({devices.get('platform', '?')})",
    ", ".join(f"{name} {version}" for name, version in versions.items()),
  ]
