"""The files of a run directory: guards, locks, damage, replacement."""

import json
from pathlib import Path

import pytest

from entrojax.reporting.writer import open_writer
from entrojax.system import resumable_jsonl
from entrojax.system.workdir import (
  HeldError,
  append_rows,
  begin_or_resume,
  concerns,
  differences,
  hold_file,
  hold_workdir,
  replace_text,
  set_logs_aside,
  trim_rows,
  write_config,
)

CONFIG = {"seed": 0, "log": {"every": 1}, "logits": {"scale": 1.0}}


def resume(workdir, config, recorded=None):
  write_config(workdir, config, saved=True, resume=True, recorded=recorded)


@pytest.mark.parametrize(
  ("file", "owner"), [("sweep.json", "sweep"), ("model.safetensors", "model")]
)
def test_a_run_does_not_begin_in_a_directory_of_something_else(
  file, owner, tmp_path
):
  (tmp_path / file).write_text("{}")
  with pytest.raises(ValueError, match=f"is the directory of a {owner}, whose"):
    begin_or_resume(
      tmp_path, CONFIG, fresh=True, resume=True, recorded=None, defaults=None
    )
  assert [path.name for path in tmp_path.iterdir()] == [file]


def test_settings_that_may_change_are_whole_names_not_prefixes(tmp_path):
  write_config(tmp_path, CONFIG, saved=False, resume=True)
  resume(tmp_path, {**CONFIG, "log": {"every": 2}})
  assert json.loads((tmp_path / "config.json").read_text())["log"]["every"] == 2
  with pytest.raises(ValueError, match=r"logits\.scale was 1\.0, is 2\.0"):
    resume(tmp_path, {**CONFIG, "logits": {"scale": 2.0}})
  assert concerns("mesh was [1], is [2]", ("mesh",))
  assert not concerns("mesh_axes was 1, is 2", ("mesh",))


def test_a_longer_run_whose_schedule_follows_its_length_says_what_to_set(
  tmp_path,
):
  longer = {**CONFIG, "num_rollout_steps": 4, "decay": 8}
  before = {**CONFIG, "num_rollout_steps": 2, "decay": 4}
  message = r"decay was 4, is 8\. Some settings.* to their old values$"
  with pytest.raises(ValueError, match=message):
    resume(tmp_path, longer, recorded=before)
  with pytest.raises(ValueError, match=r"decay was 4, is 8$"):
    resume(tmp_path, {**before, "decay": 8}, recorded=before)


def test_without_config_json_the_settings_of_the_checkpoint_are_compared(
  tmp_path,
):
  with pytest.raises(ValueError, match="seed was 1, is 0"):
    resume(tmp_path, CONFIG, recorded={**CONFIG, "seed": 1})
  assert not (tmp_path / "config.json").exists()
  resume(tmp_path, CONFIG, recorded=CONFIG)
  assert json.loads((tmp_path / "config.json").read_text()) == CONFIG


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_an_old_run_without_a_readable_config_json_is_refused(text, tmp_path):
  if text is not None:
    (tmp_path / "config.json").write_text(text)
  with pytest.raises(ValueError, match=r"config\.json .*put the file back"):
    resume(tmp_path, CONFIG)


def row(number, **fields):
  return json.dumps({"rollout_step": number, **fields}) + "\n"


def test_logs_without_a_checkpoint_are_set_aside_and_not_wiped(tmp_path):
  (tmp_path / "metrics.jsonl").write_text(row(0) + row(1))
  (tmp_path / "samples.jsonl").write_text(row(0))
  (tmp_path / "wandb_id").write_text("the id of the earlier run")
  (tmp_path / "batches").mkdir()
  (tmp_path / "batches" / "1.npz").write_text("a batch of the earlier run")
  (tmp_path / "rollouts.jsonl").write_text("kept")
  assert set_logs_aside(tmp_path) == tmp_path / "earlier_1"
  aside = tmp_path / "earlier_1"
  assert (aside / "metrics.jsonl").read_text() == row(0) + row(1)
  assert (aside / "batches" / "1.npz").exists()
  names = {"metrics.jsonl", "samples.jsonl", "wandb_id", "batches"}
  assert {p.name for p in aside.iterdir()} == names
  assert {p.name for p in tmp_path.iterdir()} == {"earlier_1", "rollouts.jsonl"}
  (tmp_path / "metrics.jsonl").write_text("not JSON\n")
  assert set_logs_aside(tmp_path) == tmp_path / "earlier_2"


def test_a_file_is_no_directory_of_a_run(tmp_path):
  path = tmp_path / "file"
  path.touch()
  with (
    pytest.raises(ValueError, match="file is a file; expected a directory"),
    hold_workdir(path),
  ):
    pass


def test_logs_that_hold_no_step_are_no_loss(tmp_path):
  assert set_logs_aside(tmp_path) is None
  (tmp_path / "metrics.jsonl").write_text(row(0))
  assert set_logs_aside(tmp_path) is None
  assert (tmp_path / "metrics.jsonl").exists()


def test_rows_after_a_step_are_removed_and_a_damaged_row_is_named(tmp_path):
  path = tmp_path / "samples.jsonl"
  path.write_text(row(0) + row(2) + row(1) + '{"rollout_step": 1')
  trim_rows(tmp_path, "samples.jsonl", 1)
  assert path.read_text() == row(0) + row(1)
  path.write_text(row(0) + '{"step": 1}\n')
  with pytest.raises(ValueError, match=r"samples\.jsonl:2: not a JSON object"):
    trim_rows(tmp_path, "samples.jsonl", 1)
  trim_rows(tmp_path, "samples.jsonl", -1)
  assert not path.read_text()


def test_steps_that_the_logs_have_lost_are_said_in_one_warning(
  tmp_path, capsys
):
  path = tmp_path / "metrics.jsonl"
  path.write_text("".join(row(step, step=step) for step in (0, 1, 2, 5, 6)))
  open_writer(tmp_path, resumed_rollout_step=6).close()
  (line,) = capsys.readouterr().out.splitlines()
  assert "no lines for 2 of the 6 steps" in line
  assert "the first is step 3" in line


def test_two_processes_do_not_write_one_output(tmp_path):
  path = tmp_path / "new" / "rollouts.jsonl"
  with hold_file(path):
    with pytest.raises(HeldError, match=r"rollouts\.jsonl is being written"):
      hold_file(path).__enter__()
    path.write_text("row\n")
  with hold_file(path):  # released
    assert path.read_text() == "row\n"
  held = r"--output .* is held by another run"
  with (
    hold_workdir(tmp_path / "folder", "--output"),
    pytest.raises(HeldError, match=held),
  ):
    hold_workdir(tmp_path / "folder", "--output").__enter__()
  assert not (tmp_path / "folder").exists()


def test_a_file_that_stays_empty_is_removed(tmp_path):
  with pytest.raises(ValueError, match="before"), hold_file(tmp_path / "a"):
    raise ValueError("before anything was written")
  assert not list(tmp_path.iterdir())


def test_more_rows_than_wanted_are_an_error(tmp_path):
  path = tmp_path / "table.jsonl"
  options = {"num_rows": 1, "batch_size": 1, "kind": "table"}
  resumable_jsonl.begin(path, {}, **options)
  resumable_jsonl.append(path, [{"a": 1}, {"a": 1}])
  for use in (
    lambda: resumable_jsonl.begin(path, {}, **options),
    lambda: resumable_jsonl.read(path, kind="table", unit="rows"),
  ):
    with pytest.raises(ValueError, match="holds 2 rows, and its first line"):
      use()


def test_a_setting_that_older_code_did_not_have_counts_as_its_default():
  old = {"seed": 1, "grpo": {}}
  defaults = {"seed": 0, "grpo": {"scale": 1.0}, "new": {"a": 2, "b": ()}}
  same = {"seed": 1, "grpo": {"scale": 1.0}, "new": {"a": 2, "b": ()}}
  assert differences(old, same, defaults=defaults) == []
  other = {"seed": 1, "grpo": {}, "new": {"a": 3}}
  assert differences(old, other, defaults=defaults) == ["new.a was 2, is 3"]
  # what it had is compared as it is
  reset = {"seed": 0, "grpo": {}}
  assert differences(old, reset, defaults=defaults) == ["seed was 1, is 0"]


@pytest.mark.parametrize("name", ["config.json", "samples.jsonl"])
def test_a_file_that_is_rewritten_is_never_half_written(
  name, tmp_path, monkeypatch
):
  """A kill in the window is one right after the draft has been written."""
  path = tmp_path / name
  path.write_text("old\n")

  def killed(draft, target):
    assert (draft.read_text(), target) == ("new\n", path)
    assert path.read_text() == "old\n"
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
      replace_text(path, "new\n")
  assert path.read_text() == "old\n"
  replace_text(path, "new\n")
  assert [x.read_text() for x in tmp_path.iterdir()] == ["new\n"]


def test_the_files_of_a_run_are_rewritten_in_one_step(tmp_path, monkeypatch):
  write_config(tmp_path, CONFIG, saved=False, resume=True)
  rows = [{"rollout_step": step} for step in range(3)]
  append_rows(tmp_path, "samples.jsonl", rows)
  written = []

  def in_place(path, *_, **__):
    written.append(path.name)

  monkeypatch.setattr(Path, "write_text", in_place)
  monkeypatch.setattr(Path, "replace", lambda draft, target: None)
  resume(tmp_path, {**CONFIG, "log": {"every": 2}})
  trim_rows(tmp_path, "samples.jsonl", 1)
  assert written == ["config.json.tmp", "samples.jsonl.tmp"]
