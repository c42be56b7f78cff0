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
from experiments.tournament import courses, figures, heated
from experiments.tournament.answers import answers
from experiments.tournament.costs import read_costs
from experiments.tournament.entries import Entry, entries, long_rows
from experiments.tournament.field import Field
from experiments.tournament.formats import quoted
from experiments.tournament.lines import read_lines
from experiments.tournament.measures import Lines, mean_of, ranked
from experiments.tournament.plan import RESULTS, lines_file
from experiments.tournament.rule import BASELINE, BASES, GENTLE, SEEDS, Base
from experiments.tournament.tables import (
  behaviour,
  budget_table,
  equal_budget,
  gentle_table,
  heights_table,
  long_table,
  missing_runs,
  names_table,
  strength_table,
)
from experiments.tournament.targets import target_table
from experiments.tournament.temperatures import Heated, read_heated

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
    "equation, step by step, with dead ends that it takes back. A response of "
    "the base has some 45 tokens, and training makes them longer."
  ),
}

_HEAD = """# The tournament

All methods with one engine, one data order, one learning rate and equal budgets
of rollout steps, from the same base. What the literature claims of them is
compared with these runs in [claims](../claims/README.md). The rule for budgets
and numbers is in [rule.py](rule.py), with what was written before the
first run. This command computes every number below from the kept results of
finished runs in [results](results), in seconds:

    python -m experiments.tournament.page

The runs are made by the next command. It skips every run that is finished, so
it can be stopped at any time and continues on any machine. `--dry_run` lists
what is missing, and `--quick` makes eight methods with two seeds. Huge pages
make it faster.

    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \\
        python -m experiments.tournament --workdir=runs/tournament --jobs=2

A method of your own takes part as soon as it has a file in configs/
([how](../../CONTRIBUTING.md#add-a-method)), and `--entries=mine` runs it alone.
"""

_READING = """## How to read it

**Entries.** An entry has the name of its method's file in
[configs](../../configs/README.md#methods) and of what it changes; "What the
names mean" below lists the settings, and "Targets of entropy" the targets of
controlled entries. `linear(a, b, n)` goes from a to b over n optimizer steps.
`updates=16` splits a rollout batch into 16 mini-batches instead of 4, and
`epochs=2` trains on it twice. `prompts=64` and `curriculum` change the data,
and not the method. `ki=0` leaves out the controller's integral, and `every=4`
corrects every fourth update.

**Three comparisons.**

1. *At equal budget:* with GRPO after as many rollout steps, paired by seed and
   prompt. Rollout steps are equal, but not all else: dynamic sampling discards
   groups whose responses are all right or all wrong, and samples more; only
   `grpo,epochs=2` and the unlikeliness reward train on a batch twice.
2. *At equal entropy:* with GRPO's curve. Straight lines join the base and
   separate runs of GRPO with more and more rollout steps. Each of these runs
   goes to the end of its own learning-rate schedule; none was stopped in the
   middle. An entry's height is its pass@k minus the curve's at the entry's
   entropy, for the same seed. A method that only chooses a point between
   coverage and accuracy, as a smaller budget does, has a height of zero.
3. *At equal pass@1:* the same with pass@64 over pass@1. This height is the
   coverage that an entry has beyond GRPO's at the same accuracy. pass@8 is
   beside it, because the reasoning base has almost all of pass@64 already.

**Temperature.** Responses are sampled at temperature 1, in training and in the
evaluation. There a policy of higher entropy has less pass@1 by sampling alone.
`maj@64`, the accuracy of a majority vote of 64 responses, hardly depends on it.

**Words.** *More*, *less*, *above* and *below* mean that the 95 % interval
excludes zero. An entry in neither group is undecided, and not equal to GRPO.
By chance alone about one entry in forty would be called better and one worse;
as all share GRPO's seeds and prompts, several can be wrong together.

**Numbers** are from the evaluation at the end, on held-out prompts; entropy is
in nats per token. n is the number of seeds. ± is the standard deviation over
seeds. Brackets are 95 % intervals: over seeds (Student's t) for heights and
targets, over seeds and prompts for differences from GRPO. A single seed has no
bracket, and its difference is from GRPO's run of the same seed. A seed whose
entropy or pass@1 no run of GRPO has gets no height; a dash means that no seed
has one.

**Costs**, relative to GRPO's: `update` has the FLOPs of the update's products,
counted in the traced program (`python -m experiments.tournament.costs`);
`samples` has the responses sampled; and `time` has the duration of a rollout
step, by the fastest seed. Differences of a few per cent in it are noise, and a
dash stands for runs on another machine or beside other work. The update alone
is timed in [the lab book](../RESULTS.md#cost-of-a-methods-update). Other
machines round differently, and a run of the same seed then ends elsewhere, as a
run of another seed would.
"""

_CAPTION = """Dots of entries with three seeds are green above GRPO's curve in
pass@1, and orange below it; the colours are the same in all three pictures. All
others are grey, and hollow with a single seed. Bars are standard deviations
over seeds. The dashed line joins the runs of GRPO with one update on a batch.
"""


def page(results: Path) -> tuple[str, dict[str, str]]:
  """Return the page, and the figures by the names of their files.

  Args:
    results: the folder of the kept lines.
  """
  summaries, sections = ["## In short\n"], []
  pictures: dict[str, str] = {}
  flops, hot = read_costs(results), read_heated(results)
  for name, base in BASES.items():
    lines = read_lines(lines_file(name, results))
    if not lines:
      sections.append(f"## {TITLES[name]}\n")
      sections.append(f"No run is kept yet. `--base={name}` makes them.\n")
      continue
    summary, text, own = section(
      name, base, entries(name), lines, flops.get(name, {}), hot
    )
    summaries.append(summary)
    sections.append(text)
    pictures |= own
  return "\n".join([_HEAD, _READING, *summaries, *sections]), pictures


def section(
  name: str,
  base: Base,
  all_entries: Sequence[Entry],
  lines: Lines,
  flops: Mapping[str, float],
  hot: Sequence[Heated] = (),
) -> tuple[str, str, dict[str, str]]:
  """Return the summary of a base, its section, and its figures.

  Args:
    name: the base's name.
    base: the base.
    all_entries: the entries on this base.
    lines: the kept lines, not empty.
    flops: entry -> the FLOPs of its update relative to GRPO's.
    hot: the evaluations at other temperatures, of all bases.
  """
  field = Field(
    lines,
    f"{BASELINE},steps={base.steps}",
    [e.name for e in all_entries if e.role == "budget"],
    [e for e in all_entries if e.role in ("method", "extra")],
    long_rows(name),
    flops,
  )
  pictures = draw(name, base, field)
  if svg := heated.draw(field, hot, name):
    pictures[heated.file_name(name)] = svg
  strengths = [e for e in all_entries if e.role == "strength"]
  summary = [
    f"### {TITLES[name]}\n",
    f"{_DESCRIPTIONS[name]} {facts(base, field)}\n",
    *answers(field),
    *heated.heated_answer(field, hot, name),
    "",
  ]
  parts = [
    f"## {TITLES[name]}\n",
    *finished(all_entries, field),
    *(
      f"![{y} over {x}]({FIGURES}/{figures.file_name(name, (x, y))})"
      for x, y in figures.PLANES
    ),
    "",
    _CAPTION,
    *tables_at_equal_budget(field),
    *tables_of_heights(field),
    *gentle_section(field),
    *budgets_section(field),
    *course_section(name, pictures),
    *target_table(field),
    *long_section(field),
    *heated.heated_section(field, hot, name),
    *strength_section(field, all_entries, strengths),
    *folded("What the names mean", names_table(lines, all_entries)),
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
    f"prompts x {rollout.group_size} responses. Unless it changes them, it "
    f"makes {config.training.updates_per_rollout} updates on each batch at a "
    f"learning rate of {config.optimizer.learning_rate:g}. It is evaluated "
    f"with {evaluation.num_samples} samples for each of {num_prompts} held-out "
    "prompts."
  )


def finished(all_entries: Sequence[Entry], field: Field) -> Iterator[str]:
  """Yield how many of the planned runs are finished."""
  total = sum(len(e.seeds) for e in all_entries)
  done = sum(min(field.seeds(e.name), len(e.seeds)) for e in all_entries)
  whole = sum(field.is_whole(e.name) for e in all_entries)
  compared = len(field.complete())
  methods = sum(
    e.role == "method" and field.is_whole(e.name) for e in field.compared
  )
  budgets = sum(map(field.is_whole, field.budgets))
  strengths = [e for e in all_entries if e.role == "strength"]
  yield (
    f"{done} of {total} planned runs are finished. {whole} entries have "
    f"{len(SEEDS)} seeds: {compared} that are compared with GRPO at equal "
    f"budget ({methods} methods as their config has them, and "
    f"{compared - methods} with a changed setting), {budgets} budgets of GRPO, "
    f"and {whole - compared - budgets} longer runs. The other methods have "
    "fewer seeds so far. All methods have the same learning rate."
    f"{_strengths_run(field, strengths)}\n"
  )


def _strengths_run(field: Field, strengths: Sequence[Entry]) -> str:
  """Say how many other strengths of methods have run."""
  count = sum(field.seeds(e.name) > 0 for e in strengths)
  if not count:
    return " Except for targets, no other strength of a method has run."
  return f" {count} entries have another main strength, with one seed."


def draw(name: str, base: Base, field: Field) -> dict[str, str]:
  """Return the figures of a base by the names of their files."""
  have = [*field.complete(), *field.partial(), *field.long_runs()]
  sides = field.sides()
  pictures = {
    figures.file_name(name, plane): figures.draw(
      field.lines,
      have,
      field.curve_budgets(),
      plane,
      sides,
      field.row_budgets(GENTLE),
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
  yield from equal_budget(field, complete)
  if partial := field.partial():
    yield from folded(
      f"Entries with fewer seeds: {len(partial)}",
      equal_budget(field, partial),
    )
  rows = dict.fromkeys([*field.curve_budgets(), *ranked(complete, means)])
  yield from behaviour(field.lines, [*rows])


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


def gentle_section(field: Field) -> Iterator[str]:
  """Yield the section of heights above the gentler GRPO, if it has a curve."""
  names = field.above_a_curve()
  if names and len(field.row_budgets(GENTLE)) > 1:
    yield "### Above GRPO with one update on a batch\n"
    yield (
      f"`{GENTLE}` keeps more entropy than GRPO without any control. Entries "
      "that lie above one of GRPO's curves are compared with its curve as "
      "well, which has fewer budgets. Between two of them the true curve "
      "lies above the straight line if it bends as GRPO's does, so heights "
      "here are rather too large.\n"
    )
    yield from gentle_table(field, names)


def budgets_section(field: Field) -> Iterator[str]:
  """Yield the section of GRPO's budgets."""
  yield "### GRPO's budgets\n"
  yield (
    "Each budget also has its heights above the curve of the other budgets. "
    "Nothing but its budget distinguishes it from them, so these heights show "
    "how large the error of a height is: that of the straight lines, here over "
    "wider gaps, and that of the budget's own runs.\n"
  )
  yield from budget_table(field)


def course_section(base: str, pictures: Mapping[str, str]) -> Iterator[str]:
  """Yield the section of the courses over a run, if they are drawn."""
  if (file := courses.file_name(base)) in pictures:
    yield "### Over the runs\n"
    yield (
      "Means over equal parts of the runs at equal budget, from rollouts. "
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


def strength_section(
  field: Field, all_entries: Sequence[Entry], strengths: Sequence[Entry]
) -> Iterator[str]:
  """Yield the section of main strengths, if another value has run."""
  methods = {e.method for e in strengths if field.seeds(e.name)}
  if methods:
    yield "### Values of a method's main strength\n"
    own = [e for e in strengths if e.method in methods]
    yield from strength_table(field, all_entries, own)


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
