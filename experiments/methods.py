"""List the methods that experiments compare, and write the tables of methods.

    python -m experiments.methods

brings the tables of methods in README.md and configs/README.md up to date. Each
row is made from the METHOD of a file in configs/. A row keeps its place in the
page, and a new one comes last; it may then be moved by hand.
"""

from collections.abc import Callable, Mapping, Sequence
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


def short_row(name: str, method: Method) -> str:
  """Return a method's row of the table in README.md."""
  link = f"[`{name}`](configs/{name}.py)"
  return _row(link, method.title, method.equation, method.paper)


def long_row(name: str, method: Method) -> str:
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


# page -> how a row of its table of methods looks
TABLES: Mapping[Path, Callable[[str, Method], str]] = {
  ROOT / "README.md": short_row,
  ROOT / "configs" / "README.md": long_row,
}


def with_rows(
  page: str, make_row: Callable[[str, Method], str], methods: Mapping
) -> str:
  """Return a page whose table of methods has one row for each method.

  Args:
    page: the text, with a table that begins with "| config | method |".
    make_row: (name, method) -> row.
    methods: all methods by name.
  """
  before, head, rest = re.split(
    r"(^\| config \| method \|.*\n\|[- |]*\n)", page, maxsplit=1, flags=re.M
  )
  old = re.match(r"(?:\|.*\n)*", rest)
  rows = old[0] if old else ""
  places = re.findall(r"^\| \[`(\w+?)(?:\.py)?`\]", rows, re.M)
  names = sorted(
    methods, key=lambda n: places.index(n) if n in places else len(places)
  )
  lines = "".join(f"{make_row(name, methods[name])}\n" for name in names)
  return before + head + lines + rest.removeprefix(rows)


@command(FLAGS)
def main() -> None:
  """Write the tables."""
  for path, make_row in TABLES.items():
    page = path.read_text(encoding="utf-8")
    new = with_rows(page, make_row, configs.methods())
    path.write_text(new, encoding="utf-8")
    changed = sum(line not in page.splitlines() for line in new.splitlines())
    print(f"{path.relative_to(ROOT)}: {changed} rows changed")


if __name__ == "__main__":
  main()
