"""Write the tournament's page and its figures from the kept lines.

    python -m experiments.tournament.page

It trains nothing, takes seconds, and writes README.md and figures/ beside this
file. A base without kept lines has no section.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from absl import flags

import configs
from entrojax.system.command_line import command
from experiments.tournament import courses, figures
from experiments.tournament.answers import Field, answers
from experiments.tournament.curve import Lines, of_entry, ranked
from experiments.tournament.entries import (
  BASELINE,
  BASES,
  HELD_TARGETS,
  SEEDS,
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
  equal_budget,
  equal_entropy,
  held_targets,
  long_table,
  mean_of,
  missing_runs,
  names_table,
  strength_table,
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
  "countdown": "The Countdown base",
  "reasoning": "The reasoning base: Countdown with working",
}
_DESCRIPTIONS = {
  "countdown": (
    "A model of 0.8 M weights that writes an equation of some 11 tokens which "
    "is to give a number. A response is right or wrong."
  ),
  "reasoning": (
    "A model of 1.2 M weights that first writes its search for such an "
    "equation, step by step, with dead ends that it takes back. A response has "
    "some 45 tokens."
  ),
}

_HEAD = """# The tournament

All methods with one engine, one data order, one learning rate and equal budgets
of rollout steps, from the same base. What the literature claims of them is
compared with these runs in [claims](../claims/README.md). The rule for budgets
and numbers is in [entries.py](entries.py), with what was written before the
first run. This command computes every number below from the kept lines in
[results](results), one JSON line per run, in seconds:

    python -m experiments.tournament.page

The runs are made by the next command. It skips every run whose line is kept, so
it can be stopped at any time and continues on any machine. `--dry_run` lists
what is missing, and `--quick` makes eight methods with two seeds.

    python -m experiments.tournament --workdir=runs/tournament --jobs=2
"""

_READING = """**How to read it.** An entry has the name of its method's file in
[configs](../../configs/README.md#methods) and of what it changes; "What the
names mean" below lists the settings; `linear(a, b, n)` goes from a to b over n
optimizer steps. n is the number of seeds. A mean is over
seeds, ± the standard deviation over seeds. Brackets are 95 % intervals over
seeds and, for differences from GRPO, over prompts as well; with one seed such
an interval covers prompts alone. Values are from the evaluation at the end, on
held-out prompts.

*At equal budget* compares with GRPO at as many rollout steps, paired by seed
and prompt. `updates=16` splits a rollout batch into 16 mini-batches instead of
4. Only `grpo,epochs=2` and the unlikeliness reward train on it twice. Dynamic
sampling discards groups whose responses are all right or all wrong, and samples
more: `samples` is the number of responses sampled, relative to GRPO's.

*At equal entropy* is the height above GRPO's curve ([curve.py](curve.py)).
Straight lines join the base and GRPO's runs of all budgets. Each of these runs
goes to the end of its own learning-rate schedule, and all make the same number
of updates on a batch. A height is measured from the curve of the same seed.
Seeds beyond the curve are left out, and a dash means that all are.

`time` is the duration of a rollout step relative to GRPO's. The fastest seed of
an entry counts. A dash stands for runs on another machine or beside other work.
What an update costs is in
[the lab book](../RESULTS.md#cost-of-a-methods-update), in FLOPs and memory too:
the projection x 1.69 of GRPO's FLOPs (x 1.17 if it corrects every fourth step),
`dcpo`, `lp_reg` and `unbiased_kl` x 1.33, the others the same. Other machines
round differently, and a run of the same seed then ends elsewhere, as a run of
another seed would.
"""

_CAPTION = """Dots of entries with three seeds are green above GRPO's curve in
pass@1, by the interval, and orange below it; the colours are the same in all
three pictures. All others are grey, and hollow with a single seed. Bars are
standard deviations over seeds.
"""


def page(results: Path) -> tuple[str, dict[str, str]]:
  """Return the page, and the figures by the names of their files.

  Args:
    results: the folder of the kept lines.
  """
  summaries, sections = ["## In short\n"], []
  pictures: dict[str, str] = {}
  for name, base in BASES.items():
    lines = read_lines(lines_file(name, results))
    if not lines:
      sections.append(f"## {TITLES[name]}\n")
      sections.append(f"No run is kept yet. `--base={name}` makes them.\n")
      continue
    summary, text, own = section(name, base, entries(name), lines)
    summaries.append(summary)
    sections.append(text)
    pictures |= own
  return "\n".join([_HEAD, *summaries, _READING, *sections]), pictures


def section(
  name: str, base: Base, all_entries: Sequence[Entry], lines: Lines
) -> tuple[str, str, dict[str, str]]:
  """Return the summary of a base, its section, and its figures.

  Args:
    name: the base's name.
    base: the base.
    all_entries: the entries on this base.
    lines: the kept lines, not empty.
  """
  field = Field(
    lines,
    f"{BASELINE},steps={base.steps}",
    [e.name for e in all_entries if e.role == "budget"],
    [e for e in all_entries if e.role in ("method", "extra")],
    long_rows(name),
  )
  pictures = draw(name, base, field)
  strengths = [e for e in all_entries if e.role == "strength"]
  summary = [
    f"### {TITLES[name]}\n",
    f"{_DESCRIPTIONS[name]}\n",
    *answers(field),
  ]
  parts = [
    f"## {TITLES[name]}\n",
    *facts(base, all_entries, field),
    *(
      f"![{y} over {x}]({FIGURES}/{figures.file_name(name, (x, y))})"
      for x, y in figures.PLANES
    ),
    "",
    _CAPTION,
    *tables_at_equal_budget(field),
    *tables_at_equal_entropy(field),
    "### GRPO's budgets\n",
    *budget_table(lines, field.budgets),
    *course_section(name, pictures),
    *held_section(name, lines),
    *long_section(field),
    *strength_section(lines, all_entries, strengths),
    *folded("What the names mean", names_table(lines, all_entries)),
    *folded("Missing runs", missing_runs(lines, all_entries)),
  ]
  return "\n".join(summary), "\n".join(parts), pictures


def facts(
  base: Base, all_entries: Sequence[Entry], field: Field
) -> Iterator[str]:
  """Yield the budget, and how many runs are kept."""
  lines = field.lines
  config = configs.load_method(BASELINE).get_config(base.words)
  total = sum(len(e.seeds) for e in all_entries)
  whole = sum(len(of_entry(lines, e.name)) >= len(SEEDS) for e in all_entries)
  compared = len(field.complete())
  budgets = sum(field.seeds(name) >= len(SEEDS) for name in field.budgets)
  rollout, evaluation = config.rollout, config.evaluation
  num_prompts = max(line.counts().size for line in lines.values())
  yield (
    f"{len(lines)} of {total} runs are kept. {whole} entries have "
    f"{len(SEEDS)} seeds: {compared} that are compared with GRPO at equal "
    f"budget, {budgets} budgets of GRPO, and {whole - compared - budgets} of "
    f"longer runs or strengths. An entry makes {base.steps} rollout steps of "
    f"{rollout.num_prompts} prompts x {rollout.group_size} responses, and "
    f"{config.training.updates_per_rollout} updates on each batch if its "
    "method asks for no other number, at a learning rate of "
    f"{config.optimizer.learning_rate:g}. It is evaluated with "
    f"{evaluation.num_samples} samples for each of {num_prompts} held-out "
    "prompts.\n"
  )


def draw(name: str, base: Base, field: Field) -> dict[str, str]:
  """Return the figures of a base by the names of their files."""
  have = [*field.complete(), *field.partial(), *field.long_runs()]
  sides = field.sides()
  pictures = {
    figures.file_name(name, plane): figures.draw(
      field.lines, have, field.budgets, plane, sides
    )
    for plane in figures.PLANES
  }
  if course := courses.draw(field.lines, [field.baseline, *base.pictured]):
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
  yield from equal_budget(field.lines, complete, field.baseline)
  if partial := field.partial():
    yield from folded(
      f"Entries with fewer seeds: {len(partial)}",
      equal_budget(field.lines, partial, field.baseline),
    )
  yield from behaviour(field.lines, ranked(complete, means))


def tables_at_equal_entropy(field: Field) -> Iterator[str]:
  """Yield the tables at equal entropy."""
  yield "### At equal entropy\n"
  yield from curve_note(field.lines, field.budgets)
  yield from equal_entropy(field.lines, field.complete(), field.sides())
  if partial := field.partial():
    yield from folded(
      f"Entries with fewer seeds: {len(partial)}",
      equal_entropy(field.lines, partial, {}),
    )


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
  have = {n: k for n in budgets if (k := len(of_entry(lines, n)))}
  if len(have) < len(budgets) or set(have.values()) != {len(SEEDS)}:
    listed = ", ".join(f"`{n}` (n = {k})" for n, k in have.items()) or "none"
    yield (
      f"**GRPO's curve is not complete.** Of its {len(budgets)} budgets it has "
      f"{listed}. A budget without all seeds is left out of the curve, which "
      "will change with it.\n"
    )


def held_section(name: str, lines: Lines) -> Sequence[str]:
  """Return the section of the entries with a target in common."""
  targets = holding(name)
  if not any(of_entry(lines, entry) for entry in targets):
    return []
  listed = ", ".join(f"{target:g}" for target in HELD_TARGETS)
  return [f"### Holding {listed} nats\n", *held_targets(lines, targets)]


def long_section(field: Field) -> Iterator[str]:
  """Yield the section of longer budgets, if a controlled run has one."""
  rows = field.long_rows
  longer = [
    name
    for row, budgets in rows.items()
    for steps, name in budgets.items()
    if row != BASELINE and steps > min(budgets)
  ]
  yield "### Longer budgets\n"
  if any(map(field.seeds, longer)):
    yield from long_table(field.lines, rows)
  else:
    yield "No controlled run of a longer budget is kept yet.\n"


def strength_section(
  lines: Lines, all_entries: Sequence[Entry], strengths: Sequence[Entry]
) -> Iterator[str]:
  """Yield the section of main strengths, if another value has run."""
  methods = {e.method for e in strengths if of_entry(lines, e.name)}
  if methods:
    yield "### Three values of a method's main strength\n"
    own = [e for e in strengths if e.method in methods]
    yield from strength_table(lines, all_entries, own)


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
