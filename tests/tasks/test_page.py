"""The page of the tasks shows what is there, and its examples are right."""

import json
import re

import pytest

from entrojax.tasks import math_data
from entrojax.tasks.families import FAMILIES
from entrojax.tasks.math_answers import GRADERS
from experiments.tables import pages
from tests.helpers.paths import ROOT
from tests.tasks.checkers import CHECKERS

PAGE = (ROOT / "entrojax/tasks/README.md").read_text()


def test_the_table_of_tasks_is_up_to_date():
  path = ROOT / "entrojax/tasks/README.md"
  rows, new_rows = set(PAGE.splitlines()), set(pages()[path].splitlines())
  for row in [*sorted(rows - new_rows), *sorted(new_rows - rows)]:
    pytest.fail(
      f"entrojax/tasks/README.md: the row of {row.split('|')[1].strip()} is "
      "missing or old: run python -m experiments.tables"
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_the_example_of_a_family_is_right(name):
  family, where = FAMILIES[name], f"entrojax/tasks/families/{name}.py"
  assert family.summary, f"{where}: give its FAMILY a summary=Summary(...)"
  assert name in CHECKERS, f"write tests/tasks/checkers/{name}.py"
  prompt, response = family.summary.prompt, family.summary.response
  assert CHECKERS[name].check(prompt, response), (
    f"{where}: the summary's response {response!r} to {prompt!r} is wrong "
    f"according to check in tests/tasks/checkers/{name}.py"
  )
  unknown = "".join(sorted({*prompt, *response} - set(family.characters)))
  assert not unknown, (
    f"{where}: the summary has the characters {unknown!r}, which CHARACTERS "
    "lacks"
  )


def test_every_grader_has_a_row():
  assert set(re.findall(r"`math/(\w+)`", PAGE)) == set(GRADERS)


def test_the_row_of_a_file_is_read(tmp_path):
  (line,) = re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)
  path = tmp_path / "train.jsonl"
  path.write_text(line + "\n")
  (row,) = math_data.read(path).rows
  assert row.question == json.loads(line)["problem"]
  assert row.gold == (json.loads(line)["answer"],)


def test_the_python_code_runs(capsys, monkeypatch):
  monkeypatch.chdir(ROOT)
  (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
  exec(compile(code, "README.md", "exec"), {})
  assert "reason='correct'" in capsys.readouterr().out


@pytest.mark.parametrize("room", ["tasks", "judges", "bases"])
def test_the_files_that_a_page_names_exist(room):
  page = (ROOT / "entrojax" / room / "README.md").read_text()
  pattern = r"\b(?:configs|entrojax|experiments|tests)/[\w/]+\.\w+"
  paths = set(re.findall(pattern, page)) - {
    # these stand for files to be written
    "entrojax/tasks/families/NAME.py",
    "tests/tasks/checkers/NAME.py",
    f"entrojax/{room}/NAME.py",
  }
  assert paths
  for path in paths:
    assert (ROOT / path).is_file(), path
