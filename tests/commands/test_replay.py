"""One kept batch of a run through all methods of a folder."""

import json

import pytest

from entrojax import train as train_module
from entrojax.assembly.evaluation_sets import requested
from entrojax.replay import config_files, method_config
from tests.helpers.commands import run_command
from tests.helpers.system import tiny_config


@pytest.fixture
def methods(tmp_path):
  """Return a folder of four methods. Two cannot be replayed."""
  folder = tmp_path / "methods"
  folder.mkdir()
  for name in ("nsr", "seed_grpo", "w_reinforce"):
    (folder / f"{name}.py").write_text(
      f"from configs import {name}\n\n"
      f"METHOD = {name}.METHOD\nget_config = METHOD.get_config\n"
    )
  (folder / "broken.py").write_text(
    "METHOD = None\n\n\ndef get_config():\n  return {}['no such key']\n"
  )
  (folder / "helper.py").write_text("VALUE = 1\n")
  return folder


def test_a_folder_stands_for_its_files_that_define_a_method(methods, tmp_path):
  names = ("broken", "nsr", "seed_grpo", "w_reinforce")
  files = [str(methods / f"{name}.py") for name in names]
  one = f"{files[1]}:words"
  assert config_files([one, str(methods)]) == [one, *files]
  with pytest.raises(ValueError, match="defines a METHOD"):
    config_files([str(tmp_path)])


def test_a_config_file_that_does_not_exist_is_refused(methods):
  with pytest.raises(ValueError, match=r"--configs: no\.py is not a file"):
    config_files([str(methods), "no.py:words"])


@pytest.mark.slow
def test_one_command_replays_all_methods_and_names_those_that_it_cannot(
  methods, base, one_device, session_data, tmp_path
):
  workdir = tmp_path / "run"
  config = tiny_config(base, **{"log.keep_batches": (1,)})
  config.num_rollout_steps = 1
  assert train_module.train(config, workdir) is None
  done = run_command(
    "entrojax.replay",
    *(str(workdir), "--batch=1", f"--configs={methods}"),
    f"--output={tmp_path / 'page.html'}",
  )
  assert done.returncode == 0, done.stderr
  left_out = [x for x in done.stderr.splitlines() if x.startswith("left out")]
  assert len(left_out) == 2
  assert "broken.py: KeyError: 'no such key'" in left_out[0]
  assert "seed_grpo needs clusters" in left_out[1]
  _, cosines = done.stdout.split("Cosines between gradients\n")
  # all responses of the tiny base are wrong, so both learn from the same ones
  rows = [line.split() for line in cosines.split("\n\n")[0].splitlines()]
  assert rows[1:] == [
    ["nsr", "1.000", "1.000"],
    ["w_reinforce", "1.000", "1.000"],
  ]
  assert "w_reinforce" in (tmp_path / "page.html").read_text()


def test_a_run_with_fused_attention_is_replayed_without(base):
  run = json.loads(tiny_config(base).to_json_best_effort())
  run["model"] |= {"fused_attention": True, "rematerialise": "attention"}
  replayed = method_config("configs/grpo.py", run)
  assert replayed.model.path == str(base)
  assert not replayed.model.fused_attention
  assert replayed.model.rematerialise is True


def test_a_replay_reads_the_evaluation_sets_that_the_run_has_read(base):
  """Not every task has a split of another name, such as validation."""
  run = json.loads(tiny_config(base).to_json_best_effort())
  sets = [["countdown:test[:2]", 4], "countdown#1"]
  run["evaluation"] |= {"split": "test[:3]", "tasks": sets}
  replayed = method_config("configs/grpo.py", run)
  assert replayed.evaluation.split == "test[:3]"
  labels = [(part.label, part.num_samples) for part in requested(replayed)]
  own = replayed.evaluation.num_samples
  assert labels == [("countdown:test[:2]", 4), ("countdown#1", own)]
