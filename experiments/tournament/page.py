"""Write the tournament's page and its figures from the kept lines.

    python -m experiments.tournament.page

It trains nothing, takes seconds, and writes README.md and figures/ beside this
file. A base without kept lines has no section.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from absl import flags
import numpy as np

import configs
from entrojax.system.command_line import command
from experiments.tournament import courses, figures, heated
from experiments.tournament.answers import answers
from experiments.tournament.costs import read_costs
from experiments.tournament.entries import Entry, entries, long_rows
from experiments.tournament.explanations import (
  COMMANDS,
  DESCRIPTIONS,
  HEAD,
  LEGEND,
  READING,
  SHORT,
  TITLES,
)
from experiments.tournament.field import HEIGHTS, Field
from experiments.tournament.formats import quoted
from experiments.tournament.lines import read_lines
from experiments.tournament.measures import (
  Lines,
  finite_mean,
  mean_of,
  ranked,
  steps_of,
  twins,
)
from experiments.tournament.options import define_results
from experiments.tournament.plan import lines_file
from experiments.tournament.rivals import Rival, rivals
from experiments.tournament.rule import (
  BASELINE,
  BASES,
  GENTLE,
  NOTHING,
  SEEDS,
  Base,
)
from experiments.tournament.strengths import strength_answer, strength_section
from experiments.tournament.tables import (
  behaviour,
  budget_table,
  equal_budget,
  heights_table,
  long_table,
  missing_runs,
  names_table,
  rivals_table,
)
from experiments.tournament.targets import target_table
from experiments.tournament.temperatures import Heated, read_heated
from experiments.tournament.times import read_times, time_of

FLAGS = flags.FlagValues()
_RESULTS = define_results(FLAGS)
_OUTPUT = flags.DEFINE_string(
  "output",
  str(Path(__file__).parent),
  "the folder of README.md and figures/",
  flag_values=FLAGS,
)

PAGE = "README.md"
FIGURES = "figures"


def page(results: Path) -> tuple[str, dict[str, str]]:
  """Return the page, and the figures by the names of their files.

  Args:
    results: the folder of the kept lines.
  """
  summaries, sections = [SHORT], []
  pictures: dict[str, str] = {}
  flops, hot = read_costs(results), read_heated(results)
  times = read_times(results)
  for name, base in BASES.items():
    lines = read_lines(lines_file(name, results))
    if not lines:
      sections.append(f"## {TITLES[name]}\n")
      sections.append(f"No run is kept yet. `--base={name}` makes them.\n")
      continue
    summary, text, own = section(
      *(name, base, entries(name), lines),
      *(flops.get(name, {}), times.get(name, {}), hot),
    )
    summaries.append(summary)
    sections.append(text)
    pictures |= own
  parts = [HEAD, *summaries, READING, *sections, COMMANDS]
  return "\n".join(parts), pictures


def section(
  name: str,
  base: Base,
  all_entries: Sequence[Entry],
  lines: Lines,
  flops: Mapping[str, float],
  times: Mapping[str, float] = NOTHING,
  hot: Sequence[Heated] = (),
) -> tuple[str, str, dict[str, str]]:
  """Return the summary of a base, its section, and its figures.

  Args:
    name: the base's name.
    base: the base.
    all_entries: the entries on this base.
    lines: the kept lines, not empty.
    flops: entry -> the FLOPs of its update relative to GRPO's.
    times: entry -> the time of a rollout step relative to GRPO's, as kept.
    hot: the evaluations at other temperatures, of all bases.
  """
  field = Field(
    lines,
    f"{BASELINE},steps={base.steps}",
    [e.name for e in all_entries if e.role == "budget"],
    [e for e in all_entries if e.role in ("method", "extra")],
    long_rows(name),
    flops,
    {e.name: t for e in all_entries if (t := time_of(e, times)) is not None},
  )
  pictures = draw(name, base, field)
  if svg := heated.draw(field, hot, name):
    pictures[heated.file_name(name)] = svg
  summary = [
    f"### {TITLES[name]}\n",
    f"{DESCRIPTIONS[name]} {facts(base, field)}\n",
    *answers(field, hot, name),
    *strength_answer(field, all_entries),
    "",
  ]
  parts = [
    f"## {TITLES[name]}\n",
    *finished(all_entries, field),
    *folded("What the names mean", [LEGEND, *names_table(lines, all_entries)]),
    *(
      f"![{y} over {x}]({FIGURES}/{figures.file_name(name, (x, y))})"
      for x, y in figures.PLANES
    ),
    "",
    caption(field),
    *tables_at_equal_budget(field),
    *tables_of_heights(field),
    *rivals_section(field, [*rivals(field, hot, name)]),
    *budgets_section(field),
    *course_section(name, pictures),
    *target_table(field),
    *long_section(field),
    *heated.heated_section(field, hot, name),
    *strength_section(field, all_entries),
    *folded(
      "Planned runs, and those that are not finished",
      missing_runs(lines, all_entries),
    ),
  ]
  return "\n".join(summary), "\n".join(parts), pictures


def facts(base: Base, field: Field) -> str:
  """Say what the budget of an entry is, and how it is evaluated."""
  config = configs.load_method(BASELINE).get_config(base.words)
  rollout, evaluation = config.rollout, config.evaluation
  num_prompts = max(line.counts().size for line in field.lines.values())
  return (
    f"An entry makes {base.steps} rollout steps of {rollout.num_prompts} "
    f"prompts x {rollout.group_size} responses. Unless its config or its name "
    f"says otherwise, it makes {config.training.updates_per_rollout} updates "
    "on each batch at a learning rate of "
    f"{config.optimizer.learning_rate:g}. It is evaluated "
    f"with {evaluation.num_samples} samples for each of {num_prompts} held-out "
    "prompts."
  )


def caption(field: Field) -> str:
  """Return what the colours and lines of the three pictures mean."""
  text = (
    "With the correction for many comparisons, made among the entries of the "
    "common budget and among longer runs, green dots lie above GRPO's curve in "
    "pass@1, and orange ones below; the colours are the same in all three "
    "pictures. All others are grey. Bars are standard deviations over seeds."
  )
  if len(field.row_budgets(GENTLE)) > 1:
    text += (
      " The dashed line joins the runs of GRPO with one update on a batch."
    )
  return f"{text}\n"


def finished(all_entries: Sequence[Entry], field: Field) -> Iterator[str]:
  """Yield how many of the planned runs are finished."""
  total = sum(len(e.seeds) for e in all_entries)
  done = sum(min(field.seeds(e.name), len(e.seeds)) for e in all_entries)
  whole = [e.name for e in field.compared if field.is_whole(e.name)]
  methods = [e for e in field.compared if e.role == "method"]
  done_methods = sum(e.name in whole for e in methods)
  grpo = sum(map(field.is_whole, field.curve_budgets()))
  strengths = [e for e in all_entries if e.role == "strength"]
  yield (
    f"{done} of {total} planned runs are finished. With {len(SEEDS)} seeds or "
    f"more there are {done_methods} of {len(methods)} methods as their config "
    f"has them, {len(whole) - done_methods} entries with a changed setting, "
    f"GRPO at {grpo} budgets, and {len(field.long_runs())} other longer runs."
    f"{_strengths_run(field, strengths)}\n"
  )


def _strengths_run(field: Field, strengths: Sequence[Entry]) -> str:
  """Say how many other strengths of methods have run."""
  count = sum(field.seeds(e.name) > 0 for e in strengths)
  if not count:
    return ""
  return f" {count} entries have another main strength, with one seed."


def draw(name: str, base: Base, field: Field) -> dict[str, str]:
  """Return the figures of a base by the names of their files."""
  have = [*field.complete(), *field.partial(), *field.long_runs()]
  marked = field.marked()
  pictures = {
    figures.file_name(name, plane): figures.draw(
      field.lines,
      have,
      field.curve_budgets(),
      plane,
      marked,
      field.row_budgets(GENTLE),
    )
    for plane in figures.PLANES
  }
  if course := courses.draw(field.lines, base.pictured):
    pictures[courses.file_name(name)] = course
  return pictures


def folded(summary: str, text: Iterable[str]) -> Iterator[str]:
  """Yield a part of the page that opens on a click."""
  yield f"<details><summary>{summary}</summary>\n"
  yield from text
  yield "</details>\n"


def tables_at_equal_budget(field: Field) -> Iterator[str]:
  """Yield the tables at equal budget, and of what the responses are like."""
  complete = [field.baseline, *field.complete()]
  means = {n: mean_of(field.lines, n, "pass@1") for n in complete}
  yield "### At equal budget\n"
  yield from oddities(field)
  yield from equal_budget(field, complete)
  if partial := field.partial():
    yield from folded(
      f"Entries with fewer seeds: {len(partial)}",
      equal_budget(field, partial),
    )
  rows = dict.fromkeys([*field.curve_budgets(), *ranked(complete, means)])
  yield from behaviour(field.lines, [*rows])


def oddities(field: Field) -> Iterator[str]:
  """Yield which entries end below the base, and which exactly as another."""
  complete = field.complete()
  gains = field.gains(complete, "pass@1")
  worse = gains.on(-1)
  lower = [n for n in gains.on(0) if gains.own[n].mean < 0]
  texts = [
    f"{words}: {quoted(names)}."
    for words, names in (
      ("Less pass@1 than the base, after training", worse),
      ("Lower than the base, but undecided", lower),
    )
    if names
  ]
  texts += [
    f"The same to the last digit for each seed: {quoted(group)}; what "
    "distinguishes them never acts on this base."
    for group in twins(field.lines, [field.baseline, *complete])
  ]
  if texts:
    yield " ".join(texts) + "\n"


def tables_of_heights(field: Field) -> Iterator[str]:
  """Yield the tables at equal entropy and at equal pass@1."""
  yield "### At equal entropy and at equal pass@1\n"
  yield "Heights above GRPO's curves.\n"
  yield from curve_note(field)
  yield from heights_table(field, field.complete())
  if partial := field.partial():
    yield from folded(
      f"Entries with fewer seeds: {len(partial)}", heights_table(field, partial)
    )


def rivals_section(field: Field, others: Sequence[Rival]) -> Iterator[str]:
  """Yield the section of heights above stronger rivals, if there are some."""
  names = field.above_a_curve()
  if names and others:
    yield "### Stronger rivals\n"
    yield (
      "GRPO also keeps entropy without control: with one update on a batch, or "
      "if a longer run is sampled hotter. Entries that lie above one of GRPO's "
      "curves are compared with these as well ([rivals.py](rivals.py)). "
      "*The best of* a row is whichever is highest there: its curve over "
      "budgets, or one of its longer runs at any temperature. So entries of "
      "the common budget are also compared with runs that have trained for "
      f"longer.{_coarse_errors(field)} Some longer runs were made again for "
      'other temperatures; "At other sampling temperatures" says how far they '
      "differ.\n"
    )
    yield from rivals_table(field, names, others)


def _coarse_errors(field: Field) -> str:
  """Say how far GRPO's budgets lie from a curve of as few as the gentle one."""
  steps = {steps_of(field.lines, n) for n in field.row_budgets(GENTLE)}
  budgets = field.curve_budgets()
  few = [n for n in budgets if steps_of(field.lines, n) in steps]
  errors = [
    x
    for n in budgets
    if n not in few
    and np.isfinite(x := finite_mean(field.heights(n, HEIGHTS[0], few)))
  ]
  if len(few) < 2 or not errors:
    return ""
  return (
    f" The curve of `{GENTLE}` over budgets has {1 + len(steps)} points, with "
    "the base. GRPO's other budgets lie "
    f"{min(errors):+.3f} to {max(errors):+.3f} from a curve of GRPO with as "
    "few points, in pass@1."
  )


def budgets_section(field: Field) -> Iterator[str]:
  """Yield the section of GRPO's budgets."""
  yield "### GRPO's budgets\n"
  yield (
    "Each budget also has its heights above the curve of the other budgets. "
    "It differs from them in nothing else, so all these heights should be "
    "zero. They show how large the error of a height is: the straight lines "
    "are not the curve, here over wider gaps, and the budget's own runs have "
    "an error, too. Where one is called above or below, its interval is too "
    "narrow.\n"
  )
  yield from budget_table(field)


def course_section(base: str, pictures: Mapping[str, str]) -> Iterator[str]:
  """Yield the section of the courses over a run, if they are drawn."""
  if (file := courses.file_name(base)) in pictures:
    yield "### Over the runs\n"
    yield (
      "Means over equal parts of longer runs, from rollouts. "
      "Bands reach from the lowest to the highest seed.\n"
    )
    yield f"![how a few entries change over their runs]({FIGURES}/{file})\n"


def curve_note(field: Field) -> Iterator[str]:
  """Yield a warning if runs of GRPO's curve are missing."""
  absent = [n for n in field.budgets if n not in field.curve_budgets()]
  if absent:
    yield (
      f"**GRPO's curve is not complete.** It lacks seeds of {quoted(absent)}, "
      "and will change with them.\n"
    )


def long_section(field: Field) -> Iterator[str]:
  """Yield the section of longer budgets, if an entry has one."""
  yield "### Longer budgets\n"
  longer = [
    name
    for row, budgets in field.long_rows.items()
    for name in list(budgets.values())[1:]
    if row != BASELINE
  ]
  if any(map(field.seeds, longer)):
    yield from long_table(field)
  else:
    yield "Besides GRPO no entry has run longer yet.\n"


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
