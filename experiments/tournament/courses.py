"""Draw how a few entries of the tournament change over their runs.

Each curve is the mean over seeds of means over equal parts of a run, with a
band from the lowest to the highest seed.
"""

from collections.abc import Sequence
from pathlib import Path

from entrojax.reporting.pictures import Panel, metric_curves, picture
from entrojax.reporting.run_logs import RunLog
from entrojax.reporting.static import to_svg
from entrojax.reporting.variants import Variant
from experiments.tournament.lines import Line, part_middles
from experiments.tournament.measures import Lines, of_entry

# metric of a line's course -> label of its panel
PANELS = {
  "actor/entropy": "entropy (nats per token)",
  "critic/rewards/mean": "reward of rollouts",
}
_SEARCH = "critic/parts/take_back"
# the same for a base that writes its search, whose responses change in kind
_MORE_PANELS = {
  "response_length/mean": "response length (tokens)",
  "response_length/clip_ratio": "share cut off at the limit",
  _SEARCH: "share with a take-back",
}


def file_name(base: str) -> str:
  """Return the name of a base's figure."""
  return f"{base}_courses.svg"


def draw(lines: Lines, names: Sequence[str]) -> str:
  """Draw the courses of entries as an SVG document; "" without any.

  Args:
    lines: the kept lines.
    names: the entries; those without a line are left out.
  """
  variants = [
    Variant(name, tuple(as_log(line) for line in runs.values()))
    for name in names
    if (runs := of_entry(lines, name))
  ]
  searches = any(
    _SEARCH in line.course
    for name in names
    for line in of_entry(lines, name).values()
  )
  panels = [
    Panel(label, metric_curves(variants, metric))
    for metric, label in (PANELS | (_MORE_PANELS if searches else {})).items()
  ]
  drawing = picture(panels, "rollout step")
  if drawing is None:
    return ""
  return to_svg(drawing, [variant.name for variant in variants])


def as_log(line: Line) -> RunLog:
  """Return a line's course as the log of a run, a row in each part's middle."""
  rows: dict[float, dict[str, float]] = {}
  for metric in PANELS | _MORE_PANELS:
    if metric not in line.course:
      continue
    middles = part_middles(line, metric)
    for step, value in zip(middles, line.course[metric], strict=True):
      if value is not None:
        rows.setdefault(step, {"step": step})[metric] = value
  ordered = [rows[step] for step in sorted(rows)]
  return RunLog(line.entry, Path(), ordered, {"seed": line.seed})
