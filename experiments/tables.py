"""Write the tables of methods and tasks in the pages.

    python -m experiments.tables

brings three tables up to date. README.md has a row for each family of methods,
and configs/README.md has a row for each method; both come from the METHOD of
each file in configs/, and the last column from the kept lines of the
tournament. entrojax/tasks/README.md has a row for each family of problems, from
its FAMILY. Methods are sorted by family. Within a family a method keeps its
place in the page of the configs. A new one comes last; it may then be moved by
hand.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
import re

from absl import flags
import numpy as np

import configs
from configs import Method
from entrojax.system.command_line import command
from entrojax.tasks import FAMILIES
from entrojax.types import Family
from experiments.tournament.lines import read_lines
from experiments.tournament.measures import ENTROPY, Lines, of_entry, values
from experiments.tournament.plan import lines_file
from experiments.tournament.rule import BASELINE, BASES, SEEDS

ROOT = Path(__file__).parents[1]
FLAGS = flags.FlagValues()
_GRPO = f"{BASELINE},steps={BASES['countdown'].steps}"


def family_row(family: str, methods: Mapping[str, Method]) -> str:
  """Return a family's row of the table in README.md."""
  links = (
    f"[{method.title}](configs/{name}.py)"
    for name, method in methods.items()
    if method.family == family
  )
  return f"| {family} | {', '.join(links)} |"


def entropy_beside_grpo(name: str, lines: Lines) -> str:
  """Format the entropy at the end of a method's runs minus GRPO's, nats.

  Args:
    name: the method, an entry of the tournament.
    lines: the kept lines on Countdown.
  """
  own, grpo = (of_entry(lines, entry) for entry in (name, _GRPO))
  seeds = [seed for seed in own if seed in grpo]
  gaps = np.subtract(
    *(values({s: runs[s] for s in seeds}, ENTROPY) for runs in (own, grpo))
  )
  if not gaps.size or name == BASELINE:
    return ""
  if gaps.size == 1:
    return f"{gaps[0]:+.3f} (one seed)"
  number = "" if gaps.size >= len(SEEDS) else f" ({gaps.size} seeds)"
  return f"{gaps.mean():+.3f} ± {gaps.std(ddof=1):.3f}{number}"


def method_row(name: str, method: Method, lines: Lines) -> str:
  """Return a method's row of the table in configs/README.md."""
  files = ", ".join(f"[`{file}`](../entrojax/{file})" for file in method.files)
  paper = method.paper
  if re.fullmatch(r"\d+\.\d+", paper):
    paper = f"[{paper}](https://arxiv.org/abs/{paper})"
  return _row(
    f"[`{name}.py`]({name}.py)",
    method.title,
    method.equation,
    files,
    paper,
    method.statistics,
    method.claim,
    method.measured,
    entropy_beside_grpo(name, lines),
  )


def origin_rows(methods: Mapping[str, Method]) -> list[str]:
  """Return the rows that say where numbers on testbeds come from."""
  return [
    _row(name, testbed, origin)
    for name, method in methods.items()
    for testbed, origin in method.origins.items()
  ]


def task_row(family: Family) -> str:
  """Return a family's row of the table in entrojax/tasks/README.md."""
  own = family.summary
  if own is None:
    raise ValueError(
      f"entrojax/tasks/families/{family.name}.py: FAMILY has no summary"
    )
  return _row(
    f"`{family.name}`",
    own.problem,
    f"`{own.prompt}`",
    f"`{own.response}`",
    f"{len(family.levels)}: {own.levels}",
    own.accepted,
  )


def _row(*cells: str) -> str:
  """Return a row of a table in Markdown."""
  return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


_TABLE = r"(^\| {} \|.*\n\|[- |]*\n)((?:\|.*\n)*)"


def with_rows(page: str, first_column: str, rows: Sequence[str]) -> str:
  """Return a page whose table has these rows.

  Args:
    page: the text, with one table whose head begins with the first column.
    first_column: the name of that column.
    rows: the rows, without ends of lines.
  """
  lines = "".join(f"{row}\n" for row in rows)
  table = re.compile(_TABLE.format(first_column), re.M)
  return table.sub(lambda match: match[1] + lines, page, count=1)


def in_order(page: str, methods: Mapping[str, Method]) -> dict[str, Method]:
  """Return methods by family, and within a family in the order of a page."""
  places = re.findall(r"^\| \[`(\w+)\.py`\]", page, re.M)

  def place(name: str) -> tuple[int, int]:
    own = places.index(name) if name in places else len(places)
    return configs.FAMILIES.index(methods[name].family), own

  return {name: methods[name] for name in sorted(methods, key=place)}


def pages() -> dict[Path, str]:
  """Return the pages that have a generated table, up to date."""
  front, long, tasks = (
    ROOT / path
    for path in ("README.md", "configs/README.md", "entrojax/tasks/README.md")
  )
  text = {path: path.read_text("utf-8") for path in (front, long, tasks)}
  methods = in_order(text[long], configs.methods())
  lines = read_lines(lines_file("countdown"))
  by_family = [family_row(family, methods) for family in configs.FAMILIES]
  by_method = [
    method_row(name, method, lines) for name, method in methods.items()
  ]
  by_task = [task_row(family) for family in FAMILIES.values()]
  return {
    front: with_rows(text[front], "family", by_family),
    long: with_rows(
      with_rows(text[long], "config \\| method", by_method),
      "own numbers of",
      origin_rows(methods),
    ),
    tasks: with_rows(text[tasks], "task \\| the problem", by_task),
  }


@command(FLAGS)
def main() -> None:
  """Write the tables."""
  for path, new in pages().items():
    old = path.read_text(encoding="utf-8").splitlines()
    path.write_text(new, encoding="utf-8")
    changed = sum(line not in old for line in new.splitlines())
    print(f"{path.relative_to(ROOT)}: {changed} rows changed")


if __name__ == "__main__":
  main()
