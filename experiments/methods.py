"""List the methods that experiments compare, and write the tables of methods.

    python -m experiments.methods

brings the tables of methods in README.md and configs/README.md up to date, from
the METHOD of each file in configs/. README.md has a row for each family of
methods, and configs/README.md a row for each method, sorted by family. Within
a family a method keeps its place in the page of the configs, and a new one
comes last; it may then be moved by hand.
"""

from collections.abc import Mapping, Sequence
import difflib
from pathlib import Path
import re

from absl import flags
from ml_collections import ConfigDict as Config

import configs
from configs import Method
from entrojax.system.command_line import command

BASELINE = "grpo"
ROOT = Path(__file__).parents[1]
FLAGS = flags.FlagValues()


def _is_compared(method: Method) -> bool:
  """Return whether a method runs on the same batches as GRPO."""
  return method.testbed == configs.methods()[BASELINE].testbed


def method_config(name: str, preset: str = "demo") -> Config:
  """Load a method's config, without its overrides."""
  return configs.combine(name, configs.methods()[name].testbed, preset)


METHODS = {
  name: method
  for name, method in configs.methods().items()
  if name != BASELINE and _is_compared(method)
}


def select_methods(names: Sequence[str]) -> dict[str, Method]:
  """Return the methods with these names; all methods if there are no names.

  Raises:
    ValueError: a name is unknown; the message names the nearest one.
  """
  for name in names:
    if name not in METHODS:
      near = difflib.get_close_matches(name, METHODS, n=1)
      hint = f"; did you mean {near[0]!r}?" if near else ""
      raise ValueError(f"there is no method {name!r}{hint}")
  return {name: METHODS[name] for name in names or METHODS}


# -- tables -------------------------------------------------------------------


def family_row(family: str, methods: Mapping[str, Method]) -> str:
  """Return a family's row of the table in README.md."""
  links = (
    f"[{method.title}](configs/{name}.py)"
    for name, method in methods.items()
    if method.family == family
  )
  return f"| {family} | {', '.join(links)} |"


def method_row(name: str, method: Method) -> str:
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
  """Return the pages that have a table of methods, up to date."""
  front, long = ROOT / "README.md", ROOT / "configs" / "README.md"
  text = {path: path.read_text(encoding="utf-8") for path in (front, long)}
  methods = in_order(text[long], configs.methods())
  by_family = [family_row(family, methods) for family in configs.FAMILIES]
  by_method = [method_row(name, method) for name, method in methods.items()]
  return {
    front: with_rows(text[front], "family", by_family),
    long: with_rows(text[long], "config \\| method", by_method),
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
