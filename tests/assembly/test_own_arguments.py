"""Functions that are passed to train, and whole runs with them."""

import json
from pathlib import Path
import re
import subprocess
import sys

import jax.numpy as jnp
import pytest

from configs import default
import entrojax
from entrojax.assembly.methods import make_recipe
from entrojax.assembly.own_methods import (
  make_own_task,
  own_methods,
  qualified_name,
  record_names,
)
from entrojax.main import main
from entrojax.objectives.reference_kl import reference_log_probs
from entrojax.types import Task
from tests.helpers.own_code import ROWS, write_rows
from tests.helpers.paths import ROOT
from tests.helpers.system import numbers, tiny_config, write_base

pytestmark = pytest.mark.usefixtures("own_code")


def test_problems_are_a_list_a_file_or_a_dict_of_splits():
  reward = lambda prompt, response: 0.0
  path = write_rows(Path("all.jsonl"), ROWS)
  for problems in (ROWS, iter(ROWS), path, str(path)):
    load = make_own_task((reward, problems)).task.load
    prompts = [
      p.prompt for s in ("train", "validation", "test") for p in load(s)
    ]
    assert sorted(prompts) == [row["prompt"] for row in ROWS]
    assert len(load("validation")) == 1
  load = make_own_task((reward, {"train": ROWS[:2]})).task.load
  assert len(load("train")) == 2
  with pytest.raises(ValueError, match=r"only the splits \('train',\)"):
    load("validation")
  with pytest.raises(ValueError, match="3 problems with 3 different prompts"):
    make_own_task((reward, ROWS[:3])).task.load("validation")
  with pytest.raises(ValueError, match="20 problems with 1 different prompts"):
    make_own_task((reward, ROWS[:1] * 20)).task.load("validation")


def test_functions_are_recorded_by_their_names():
  config = default.get_config()
  task = Task("mine", lambda split: [], write_rows)
  own = own_methods(
    entrojax.ppo_clip(),
    {"mine": entrojax.grpo()},
    entrojax.entropic_pi(target=0.5),
  )
  named = record_names(config, own, make_own_task(task))
  assert named.objective == (
    "entrojax.objectives.ppo.ppo_clip.<locals>.objective:ppo_clip",
  )
  (rule,) = named.advantage
  assert re.fullmatch(r"entrojax\.advantages\..*grpo.*:mine", rule)
  assert re.fullmatch(
    r"entrojax\.control\.pi\..*:entropic_pi", named.control.name
  )
  assert named.task.name.endswith(".write_rows:mine")
  assert config.objective == ("ppo_clip",)  # the caller's is not changed
  assert qualified_name(jnp.sum).endswith(".sum")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"objective": {}}, "objective is empty"),
    ({"objective": "ppo_clip"}, "objective is 'ppo_clip'; expected a function"),
    ({"advantage": {"a": 1}}, "advantage: a is 1; expected a function"),
    ({"controller": 3}, "controller is 3; expected an entrojax"),
  ],
)
def test_an_argument_of_another_type_is_named(arguments, message):
  with pytest.raises(ValueError, match=message):
    own_methods(**arguments)


def test_a_task_of_another_type_is_named():
  with pytest.raises(
    ValueError, match="task is 'countdown'; expected an entro"
  ):
    make_own_task("countdown")


def test_a_member_without_its_reference_asks_for_one():
  def objective(tokens, token_loss, coefficient, key):
    reference_log_probs(tokens, "mine")
    return entrojax.ppo_clip()(tokens, token_loss, coefficient, key)

  config = default.get_config()
  own = own_methods(objective=objective)
  named = record_names(config, own, None)
  assert make_recipe(named, own).needs_reference


@pytest.mark.slow
def test_importing_the_library_does_not_import_the_trainer():
  code = (
    "import sys, entrojax; assert 'entrojax.train' not in sys.modules; "
    "assert callable(entrojax.train)"
  )
  subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def blocks() -> list[str]:
  """Return the code of the page's section, as a user copies it."""
  page = (ROOT / "entrojax" / "README.md").read_text()
  section = page.partition("## Bring your own")[2].partition("\n## ")[0]
  return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


OWN_CONFIG = """
from ml_collections import ConfigDict

from configs import grpo


def get_config():
  config = grpo.get_config("test")
  config.calm = ConfigDict({"strength": 0.5})
  return config
"""


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "session_data")
def test_the_file_of_the_page_trains(own_code, monkeypatch):
  base = write_base(own_code / "base")
  (own_code / "mine.py").write_text(blocks()[0])
  (own_code / "config.py").write_text(OWN_CONFIG)
  arguments = [
    "--config=config.py",
    "--workdir=run",
    "--config.task.name=mine.py:reward",
    "--config.task.data_dir=data",
    "--config.objective=('ppo_clip', 'mine.py:calm')",
    "--config.calm.strength=0.25",
    f"--config.model.path={base}",
  ]
  # ml_collections reads the program's own arguments
  monkeypatch.setattr(sys, "argv", ["main", *arguments])
  main(arguments)
  rows = numbers(own_code / "run")
  assert rows[-1]["rollout_step"] == 2
  assert "val/reward/pass@4" in rows[0]
  assert rows[1]["calm/loss"] > 0
  assert "calm/gradient_change" in rows[1]
  config = json.loads((own_code / "run" / "config.json").read_text())
  assert config["task"]["name"] == "mine.py:reward"
  assert config["calm"] == {"strength": 0.25}


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "session_data")
def test_the_notebook_of_the_page_trains_and_resumes_only_as_itself(
  own_code, monkeypatch
):
  base = write_base(own_code / "base")
  names = {"problems": {"train": ROWS, "validation": ROWS}}
  exec(compile(blocks()[0], "README.md", "exec"), names)
  from configs import grpo

  tiny = tiny_config(base)
  monkeypatch.setattr(grpo, "get_config", lambda preset: tiny)
  names["__name__"] = "notebook"
  cell = blocks()[1].replace("runs/mine", str(own_code / "run"))
  exec(compile(cell, "README.md", "exec"), names)
  rows = numbers(own_code / "run")
  assert rows[-1]["rollout_step"] == 2
  assert rows[1]["calm/loss"] > 0
  recorded = json.loads((own_code / "run" / "config.json").read_text())
  assert recorded["objective"][1].endswith("calm.<locals>.objective:calm")
  other = lambda prompt, response: 1.0
  with pytest.raises(ValueError, match=r"cannot resume .* task\.name was"):
    entrojax.train(tiny, own_code / "run", task=(other, names["problems"]))
