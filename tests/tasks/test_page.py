"""The page of the tasks shows what is there, and its examples are right."""

import json
import re

import pytest

from entrojax.tasks import FAMILIES, math_data
from entrojax.tasks.math_answers import GRADERS
from experiments.attack_verifiers import CHECKS
from tests.helpers.paths import ROOT

PAGE = (ROOT / "entrojax/tasks/README.md").read_text()
ROWS = {
  cells[1].strip(" `"): [cell.strip(" `") for cell in cells[2:-1]]
  for line in PAGE.splitlines()
  if len(cells := line.split("|")) == 8 and "`" in cells[1]
}


def test_every_family_has_a_row():
  for name in set(FAMILIES) ^ set(ROWS):
    pytest.fail(
      f"{name} is either a family or a row of the table in "
      "entrojax/tasks/README.md, and not both: add the row or remove it"
    )


@pytest.mark.parametrize("name", ROWS)
def test_the_response_in_a_row_is_right_and_its_levels_are_counted(name):
  _, prompt, response, levels, _ = ROWS[name]
  assert CHECKS[name](prompt, response)
  assert set(prompt + response) <= set(FAMILIES[name].characters)
  assert int(levels.split(":")[0]) == len(FAMILIES[name].levels)


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
    f"entrojax/{room}/NAME.py"  # stands for a file to be written
  }
  assert paths
  for path in paths:
    assert (ROOT / path).is_file(), path
