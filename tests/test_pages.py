"""What the README shows works as it stands there."""

import re

from experiments.methods import OFFLINE, config_names
from tests.helpers.paths import ROOT

README = (ROOT / "README.md").read_text()


def test_the_foreign_train_step_runs(capsys):
  (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
  exec(compile(code, "README.md", "exec"), {})
  assert "(2, 3, 7)" in capsys.readouterr().out


def test_its_make_targets_exist():
  makefile = (ROOT / "Makefile").read_text()
  for target in re.findall(r"^    make (\w+)$", README, re.MULTILINE):
    assert f"\n{target}:" in makefile


def test_its_files_exist():
  for path in re.findall(r"`((?:configs|entrojax|tests)/[\w./]+)`", README):
    assert (ROOT / path).exists(), path
  for name in re.findall(r"\| `(\w+\.py)` \|", README):
    assert (ROOT / "configs" / name).exists(), name
  for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
    assert (ROOT / path).exists(), path


def test_every_method_config_is_in_its_table():
  table = set(re.findall(r"\| `(\w+)\.py` \|", README))
  assert table == {*config_names(), *OFFLINE}
