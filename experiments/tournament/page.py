"""Write the tournament's page and its figures from the kept lines.

    python -m experiments.tournament.page

It trains nothing, takes seconds, and writes README.md and figures/ beside this
file. A base without kept lines has no section.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from absl import flags

from entrojax.reporting.differences import Interval
from entrojax.system.command_line import command
from experiments.tournament import courses, figures
from experiments.tournament.curve import (
  Lines,
  compare,
  difference,
  distances,
  of_entry,
  over_seeds,
  ranked,
)
from experiments.tournament.entries import (
  BASELINE,
  BASES,
  HELD_TARGETS,
  Base,
  Entry,
  entries,
  holding,
  long_rows,
)
from experiments.tournament.lines import read_lines
from experiments.tournament.plan import RESULTS, lines_file
from experiments.tournament.tables import (
  behaviour,
  budget_table,
  cost,
  equal_budget,
  equal_entropy,
  held_targets,
  long_table,
  mean_of,
  missing_runs,
  overtakes,
  strength_table,
  target_of,
  twins,
)

FLAGS = flags.FlagValues()
_RESULTS = flags.DEFINE_string(
  "results", str(RESULTS), "the folder of the kept lines", flag_values=FLAGS
)
_OUTPUT = flags.DEFINE_string(
  "output",
  str(Path(__file__).parent),
  "the folder of README.md and figures/",
  flag_values=FLAGS,
)

PAGE = "README.md"
FIGURES = "figures"
TITLES = {
  "countdown": "Countdown",
  "reasoning": "Countdown with working",
}
_NEAR = 0.03  # nats from a target that count as held

_HEAD = """# The tournament

All methods with one engine, one data order, one learning rate and equal budgets
of rollouts, from the same base. The rule for budgets and numbers is in
[entries.py](entries.py), with what was written before the first run. This
command computes every number below from the kept lines in [results](results),
one JSON line per run, in seconds:

    python -m experiments.tournament.page

The runs are made by the next command. It skips every run whose line is kept, so
it can be stopped at any time and continues on any machine. `--dry_run` lists
what is missing, and `--quick` makes eight methods with two seeds.

    python -m experiments.tournament --workdir=runs/tournament --jobs=2
"""

_READING = """**How to read it.** A mean is over seeds, ± the standard
deviation over seeds; n is the number of seeds. Brackets are 95 % intervals. *At
equal budget* compares with GRPO at as many rollout steps, paired by seed and
prompt. *At equal entropy* is the height above GRPO's curve, which joins the
base and GRPO's runs of all budgets ([curve.py](curve.py)). Its interval covers
other seeds, and not other prompts. One seed alone has no interval. A dash means
that the entropy lies beyond the curve. Among some fifty rows, two or three
intervals exclude zero by chance. `time` is the duration of a rollout step
of the fastest seed, compared with GRPO's. Other machines round differently, and
a run of the same seed then ends elsewhere, as a run of another seed would.
"""


def page(results: Path) -> tuple[str, dict[str, str]]:
  """Return the page, and the figures by the names of their files.

  Args:
    results: the folder of the kept lines.
  """
  parts = [_HEAD, _READING]
  pictures: dict[str, str] = {}
  for name, base in BASES.items():
    lines = read_lines(lines_file(name, results))
    if not lines:
      parts.append(f"## {TITLES[name]}\n")
      parts.append(f"No run is kept yet. `--base={name}` makes them.\n")
      continue
    text, own = section(name, base, entries(name), lines)
    parts.append(text)
    pictures |= own
  return "\n".join(parts), pictures


def section(
  name: str, base: Base, all_entries: Sequence[Entry], lines: Lines
) -> tuple[str, dict[str, str]]:
  """Return the section of a base, and its figures.

  Args:
    name: the base's name.
    base: the base.
    all_entries: the entries on this base.
    lines: the kept lines, not empty.
  """
  budgets = [e.name for e in all_entries if e.role == "budget"]
  compared = [e for e in all_entries if e.role in ("method", "extra")]
  strengths = [e for e in all_entries if e.role == "strength"]
  baseline = f"{BASELINE},steps={base.steps}"
  have = [e.name for e in compared if of_entry(lines, e.name)]
  heights = {
    e: over_seeds(distances(lines, of_entry(lines, e), "pass@1")) for e in have
  }
  marked = {
    e: side
    for e in ranked(have, {k: v and v.mean for k, v in heights.items()})
    if (side := compare(heights[e]))
  }
  pictures = {
    figures.file_name(name, plane): figures.draw(
      lines, have, budgets, plane, marked
    )
    for plane in figures.PLANES
  }
  if course := courses.draw(lines, [baseline, *base.drawn]):
    pictures[courses.file_name(name)] = course
  order = ranked(
    [baseline, *have],
    {e: mean_of(lines, e, "pass@1") for e in (baseline, *have)},
  )
  total = sum(len(e.seeds) for e in all_entries)
  parts = [
    f"## {TITLES[name]}\n",
    f"{len(lines)} of {total} runs are kept. The budget of an entry is "
    f"{base.steps} rollout steps.\n",
    *answers(lines, have, compared, baseline, heights),
    "### At equal budget\n",
    *equal_budget(lines, [baseline, *have], baseline),
    *behaviour(lines, order),
    *course_section(name, pictures),
    "### At equal entropy\n",
    *curve_note(lines, budgets),
    *equal_entropy(lines, have),
    *(
      f"![{y} over {x}]({FIGURES}/{figures.file_name(name, (x, y))})"
      for x, y in figures.PLANES
    ),
    "\n### GRPO's budgets\n",
    *budget_table(lines, budgets),
    *held_section(name, lines),
    "### Longer budgets\n",
    *long_runs(name, lines),
    "### Strengths\n",
    *strength_table(lines, all_entries, strengths),
    "### Missing runs\n",
    *missing_runs(lines, all_entries),
  ]
  return "\n".join(parts), pictures


def course_section(base: str, pictures: Mapping[str, str]) -> Iterator[str]:
  """Yield the section of the courses over a run, if they are drawn."""
  if (file := courses.file_name(base)) in pictures:
    yield "### Over the runs\n"
    yield (
      "Means over equal parts of the runs at equal budget, from rollouts. "
      "Bands reach from the lowest to the highest seed.\n"
    )
    yield f"![how a few entries change over their runs]({FIGURES}/{file})\n"


def curve_note(lines: Lines, budgets: Sequence[str]) -> Iterator[str]:
  """Yield a warning if runs of GRPO's curve are missing."""
  have = [name for name in budgets if of_entry(lines, name)]
  if len(have) < len(budgets):
    listed = ", ".join(f"`{name}`" for name in have) or "none"
    yield (
      f"**GRPO's curve is not complete.** Of its {len(budgets)} budgets it has "
      f"{listed}. The heights will change with the others.\n"
    )


def held_section(name: str, lines: Lines) -> Sequence[str]:
  """Return the section of the entries with a target in common."""
  targets = holding(name)
  if not any(of_entry(lines, entry) for entry in targets):
    return []
  listed = ", ".join(f"{target:g}" for target in HELD_TARGETS)
  return [f"### Holding {listed} nats\n", *held_targets(lines, targets)]


def answers(
  lines: Lines,
  have: Sequence[str],
  compared: Sequence[Entry],
  baseline: str,
  heights: dict[str, Interval | None],
) -> Iterator[str]:
  """Yield what the tables say, as a list of sentences.

  Args:
    lines: the kept lines.
    have: the entries with a line, without GRPO's budgets.
    compared: the entries that are compared.
    baseline: GRPO at the budget of an entry.
    heights: entry -> its height above the curve in pass@1.
  """
  base = of_entry(lines, baseline)
  complete = [n for n in have if len(of_entry(lines, n)) > 1]
  if not complete or len(base) < 2:
    yield "Too few seeds are kept for conclusions.\n"
    return
  for measure in ("pass@1", "pass@64"):
    means = {n: mean_of(lines, n, measure) for n in [baseline, *complete]}
    best = ranked([*means], means)[:3]
    listed = ", ".join(f"`{n}` ({means[n]:.3f})" for n in best)
    yield (
      f"- **{measure} at equal budget:** {listed} are the highest; "
      f"GRPO has {means[baseline]:.3f}."
    )
  gaps = {n: difference(of_entry(lines, n), base, 1) for n in complete}
  better = [n for n in complete if compare(gaps[n]) > 0]
  listed = ", ".join(f"`{n}`" for n in better) or "none"
  yield (
    "- **More pass@1 than GRPO at equal budget**, with an interval above "
    f"zero: {listed}."
  )
  for side, word in ((1, "above"), (-1, "below")):
    names = [n for n in complete if compare(heights[n]) == side]
    listed = ", ".join(f"`{n}`" for n in names) or "none"
    yield (
      f"- **{word.capitalize()} GRPO's curve in pass@1**, with an interval "
      f"that excludes zero: {listed}."
    )
  held = [
    f"`{e.name}` ({mean:.3f} for {target:g})"
    for e in compared
    if e.name in complete
    and (target := target_of(lines, e.name)) is not None
    and abs((mean := mean_of(lines, e.name, "entropy")) - target) <= _NEAR
  ]
  yield (
    f"- **A target of entropy is held** within {_NEAR:g} nats at the end: "
    f"{', '.join(held) or 'by none'}."
  )
  for group in twins(lines, [baseline, *have]):
    listed = " and ".join(f"`{name}`" for name in group)
    yield (
      f"- **The same to the last digit**, for each seed: {listed}. What "
      "distinguishes them never acts on this base."
    )
  costs = {n: cost(lines, n, baseline) for n in complete}
  slow = [n for n in ranked(complete, costs) if (costs[n] or 0) > 1.2]
  listed = ", ".join(f"`{n}` (x {costs[n]:.2f})" for n in slow) or "none"
  yield f"- **A step takes over 20 % longer than GRPO's** with: {listed}.\n"


def long_runs(base: str, lines: Lines) -> Iterator[str]:
  """Yield which entries overtake GRPO at longer budgets, and the table."""
  rows = long_rows(base)
  ends = {row: max(budgets) for row, budgets in rows.items()}
  ready = [
    row
    for row, steps in ends.items()
    if row != BASELINE and len(of_entry(lines, rows[row][steps])) > 1
  ]
  if not ready:
    yield "No long run has two seeds yet.\n"
  else:
    first = overtakes(lines, rows)
    listed = ", ".join(f"`{row}` at {n}" for row, n in first.items())
    never = ", ".join(f"`{row}`" for row in ready if row not in first)
    yield (
      "Overtaking GRPO in pass@1, with an interval above zero, and the first "
      f"number of rollout steps at which this holds: {listed or 'none'}. "
      f"Never up to {max(ends.values())}: {never or 'none'}.\n"
    )
  yield from long_table(lines, rows)


@command(FLAGS)
def main() -> None:
  """Write the page and the figures."""
  text, pictures = page(Path(_RESULTS.value))
  output = Path(_OUTPUT.value)
  (output / FIGURES).mkdir(parents=True, exist_ok=True)
  for name, svg in pictures.items():
    (output / FIGURES / name).write_text(svg, encoding="utf-8")
  (output / PAGE).write_text(text, encoding="utf-8")
  print(f"wrote {output / PAGE} and {len(pictures)} figures")


if __name__ == "__main__":
  main()
