"""The record of how a run was started, and what it leaves out."""

import json
from pathlib import Path
import subprocess
import sys

import jax
import numpy as np
import pytest

from entrojax.system import provenance
from entrojax.system.provenance import (
  default_settings,
  own_command,
  read_provenance,
  write_provenance,
)
from tests.helpers.paths import ROOT

DEFAULT = {"seed": 0, "model": {"path": None, "dtype": "float32"}, "rules": {}}


def write(folder: Path, *, fresh=True, command=("python",), **settings):
  write_provenance(
    folder,
    {**DEFAULT, **settings},
    DEFAULT,
    np.array(jax.devices()[:2]),
    fresh=fresh,
    command=command,
  )
  return read_provenance(folder)


def test_the_first_start_and_every_resumption_are_recorded(tmp_path):
  first = write(tmp_path, command=("python", "-m", "a"), seed=1)
  assert first["command"] == ["python", "-m", "a"]
  assert first["settings"] == {"seed": 1}
  devices = {"platform": "cpu", "kind": "cpu", "count": 2}
  assert first["devices"] == {**devices, "cores": provenance.num_cores()}
  assert first["versions"]["jax"] == jax.__version__
  assert first["resumed"] == []
  both = write(tmp_path, fresh=False, seed=1, model={"path": "b"})
  assert both["command"] == first["command"]
  (again,) = both["resumed"]
  assert again["settings"] == {"seed": 1, "model.path": "b"}
  assert again.keys() | {"resumed"} == first.keys()
  assert not list(tmp_path.glob("*.partial"))


def test_a_run_that_starts_again_forgets_an_older_one(tmp_path):
  write(tmp_path, seed=1)
  assert write(tmp_path, seed=2)["settings"] == {"seed": 2}


def test_a_run_from_before_the_record_was_kept_can_be_resumed(tmp_path):
  assert write(tmp_path, fresh=False)["resumed"] == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"resumed": 1}'])
def test_a_damaged_record_is_named(text, tmp_path):
  (tmp_path / "provenance.json").write_text(text)
  with pytest.raises(ValueError, match=r"provenance\.json is damaged: delete"):
    write(tmp_path, fresh=False)


def test_no_folder_address_or_person_is_recorded(tmp_path):
  command = [
    *("python", "-m", "entrojax.main", "--workdir=/home/ann/runs/x"),
    *("--coordinator=node7:9911", "--coordinator", "node8:9911"),
    f"--config={Path.cwd()}/configs/grpo.py:test",
    "--config.objective=('ppo_clip', '/home/ann/mine.py:loss')",
    "--config.chat_model.url=http://node9:80/v1",
    *("--config.task.data_dir=~bob/data/", "--profile=1:2"),
    *("--output=/scratch", "countdown@/data"),
  ]
  model = {"path": "/srv/models/base"}
  record = write(tmp_path, command=command, model=model, rules=["</think>"])
  assert record["command"][3:] == [
    *("--workdir=.../x", "--coordinator=...", "--coordinator", "..."),
    "--config=configs/grpo.py:test",
    "--config.objective=('ppo_clip', '.../mine.py:loss')",
    "--config.chat_model.url=http://...",
    *("--config.task.data_dir=.../data", "--profile=1:2"),
    *("--output=.../scratch", "countdown@.../data"),
  ]
  assert record["settings"] == {"model.path": ".../base", "rules": ["</think>"]}


def test_the_command_is_what_a_user_types(monkeypatch):
  class Spec:
    name = "entrojax.main"

  monkeypatch.setattr(sys, "argv", ["/x/entrojax/main.py", "--workdir=y"])
  monkeypatch.setattr(sys.modules["__main__"], "__spec__", Spec)
  assert own_command() == ["python", "-m", "entrojax.main", "--workdir=y"]
  monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
  monkeypatch.setattr(sys, "argv", ["mine.py", "y"])
  assert own_command() == ["python", "mine.py", "y"]


def test_without_default_settings_all_are_recorded(tmp_path):
  assert default_settings("configs.default")["ppo_clip"]["clip_low"] == 0.2
  assert default_settings("no_configs_here.default") is None
  write_provenance(
    tmp_path,
    DEFAULT,
    None,
    np.array(jax.devices()[:1]),
    fresh=True,
    command=(),
  )
  settings = read_provenance(tmp_path)["settings"]
  assert settings["model.dtype"] == "float32"


def test_the_commit_is_the_package_s_own(tmp_path, monkeypatch):
  git = ["git", "-C", str(tmp_path)]
  git += ["-c", "user.name=a", "-c", "user.email=b"]

  def commit():
    return provenance._commit.__wrapped__()

  run = lambda *words: subprocess.run(
    [*git, *words], check=True, capture_output=True, text=True
  ).stdout.strip()
  file = tmp_path / "package" / "file.py"
  file.parent.mkdir()
  file.write_text("")
  monkeypatch.setattr(provenance, "__file__", str(file))
  assert commit() is None  # no checkout
  run("init", "-q")
  (tmp_path / "other").write_text("")
  run("add", "other")
  run("commit", "-qm", "One")
  assert commit() is None  # a checkout of something else
  run("add", ".")
  run("commit", "-qm", "Two")
  (tmp_path / "other").write_text("kept results")
  assert commit() == run("rev-parse", "HEAD")
  file.write_text("changed")
  assert commit() == run("rev-parse", "HEAD") + "-dirty"


def test_the_version_is_that_of_the_package_s_metadata():
  citation = (ROOT / "CITATION.cff").read_text()
  assert f"\nversion: {provenance.VERSION}\n" in citation
  assert (
    "entrojax.system.provenance.VERSION"
    in (ROOT / "pyproject.toml").read_text()
  )
  json.dumps(provenance._versions())
