"""The page of the judges lists their settings as they are."""

import re

import pytest

from configs import default
from entrojax import judges
from tests.helpers.paths import ROOT

PAGE = (ROOT / "entrojax/judges/README.md").read_text()
ROWS = dict(
  re.findall(r"^\| `(\w+\.\w+)`[^|]*\|[^|]*\| (.*) \|$", PAGE, re.MULTILINE)
)


@pytest.mark.parametrize("name", ["chat_model", "reward_model"])
def test_every_setting_of_a_judge_has_a_row_with_its_default(name):
  for leaf, value in default.get_config()[name].items():
    if (name, leaf) == ("reward_model", "bad"):
      assert "`reward_model.good`, `.bad`" in PAGE
      continue
    text = ROWS[f"{name}.{leaf}"].strip("`")
    if value is None:
      assert text == "must be set"
    elif isinstance(value, str):
      assert text == value
    else:
      assert float(text) == value


def test_every_judge_has_a_row():
  rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
  assert {*rows, "consensus"} == set(judges.__all__)
