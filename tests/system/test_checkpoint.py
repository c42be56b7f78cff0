"""Checkpoints: damage is found and survived, failed saves are, too."""

import dataclasses
import json
from pathlib import Path
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.system import checkpoint as checkpoint_module
from entrojax.system import checkpoint_record
from entrojax.system.checkpoint import Checkpoints, SaveError
from entrojax.system.checkpoint_record import (
  Best,
  DamagedError,
  Record,
  decode,
  encode,
)
from entrojax.system.digests import digests
from entrojax.system.saves import Saves
from entrojax.types import TrainState

KEY = jax.random.key(3)


def state(step):
  """Return a state of a few arrays that depends on the step."""
  weights = np.random.default_rng(step).normal(size=(16, 8))
  params = {"w": jnp.asarray(weights, jnp.float32), "b": jnp.zeros(3)}
  moments = {"m": jnp.asarray(weights, jnp.bfloat16)}
  return TrainState(params, moments, jnp.asarray(step, jnp.int32))


def save(checkpoints, step, **options):
  host = {"data": {"position": step}, "step": step, "tokens": 10 * step}
  return checkpoints.save(step, state(step), KEY, host, **options)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """Return a folder with the checkpoints 1 and 2."""
  folder = tmp_path_factory.mktemp("saved") / "checkpoints"
  checkpoints = Checkpoints(folder, keep=2)
  for step in (1, 2):
    save(checkpoints, step, settings={"seed": 0})
  checkpoints.close()
  return folder


@pytest.fixture
def folder(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / "checkpoints")


def restore(folder, report=lambda line: None):
  """Restore the newest intact checkpoint; check that all is as saved."""
  checkpoints = Checkpoints(folder, keep=2)
  try:
    restored = checkpoints.restore(state(0), KEY, report=report)
  finally:
    checkpoints.close()
  step = restored.rollout_step
  jax.tree.map(np.testing.assert_array_equal, restored.state, state(step))
  assert jnp.all(jax.random.key_data(restored.key) == jax.random.key_data(KEY))
  assert restored.host["tokens"] == 10 * step
  return step


def test_a_checkpoint_is_restored_as_it_was_saved(folder):
  assert restore(folder) == 2
  assert {p.name for p in folder.iterdir()} == {"1", "2"}


def flip(path: Path, place: int, bit: int = 0) -> None:
  data = bytearray(path.read_bytes())
  data[place % len(data)] ^= 1 << bit
  path.write_bytes(data)


def data_files(step: Path) -> list[Path]:
  return sorted((step / "state").glob("**/d/*"))


def test_a_flipped_bit_in_the_array_data_is_found_and_named(folder):
  target = max(data_files(folder / "2"), key=lambda p: p.stat().st_size)
  lines = []
  is_damaged = False
  # not every byte of the file is array data
  for place in (-40, 40, target.stat().st_size // 2):
    shutil.rmtree(folder / "2.damaged", ignore_errors=True)
    flip(target, place)
    if restore(folder, lines.append) == 1:
      is_damaged = True
      shutil.copytree(folder / "2.damaged", folder / "2")
    flip(target, place)
  assert is_damaged
  assert (
    "checkpoints/2" in lines[0] and "Resuming from rollout step 1" in lines[0]
  )


def test_a_truncated_file_goes_back_to_the_intact_checkpoint(folder):
  target = max(data_files(folder / "2"), key=lambda p: p.stat().st_size)
  target.write_bytes(target.read_bytes()[:100])
  lines = []
  assert restore(folder, lines.append) == 1
  (line,) = lines
  assert "\n" not in line and "2" in line
  assert {p.name for p in folder.iterdir()} == {"1", "2.damaged"}


def test_an_empty_folder_goes_back_to_the_intact_checkpoint(folder):
  (folder / "99").mkdir()
  assert restore(folder) == 2
  assert (folder / "99.damaged").is_dir()


def test_a_second_damaged_checkpoint_of_a_step_gets_its_own_name(folder):
  (folder / "99.damaged").mkdir()
  (folder / "99").mkdir()
  assert restore(folder) == 2
  assert (folder / "99.damaged_2").is_dir()


def test_without_an_intact_checkpoint_nothing_is_moved(folder):
  for step in "12":
    for path in data_files(folder / step):
      path.unlink()
  with pytest.raises(ValueError, match="No checkpoint is intact") as error:
    restore(folder)
  assert "checkpoints/1" in str(error.value)
  assert "checkpoints/2" in str(error.value)
  assert {p.name for p in folder.iterdir()} == {"1", "2"}


def test_no_damage_is_silent_or_a_traceback(saved, tmp_path):
  """Flip a bit in, cut, empty or delete each file of the newest checkpoint.

  Whatever happens, a state is restored that was saved (`restore` compares it).
  """
  draw = random.Random(0)
  newest = saved / "2"
  names = sorted(p.relative_to(saved) for p in newest.rglob("*") if p.is_file())
  went_back = 0
  for number, name in enumerate(names):
    folder = shutil.copytree(saved, tmp_path / str(number))
    path = folder / name
    size = path.stat().st_size
    harm = ("flip", "cut", "zero", "delete")[number % 4]
    if harm == "delete":
      path.unlink()
    elif harm == "cut":
      path.write_bytes(path.read_bytes()[: draw.randrange(size)])
    elif harm == "zero":
      path.write_bytes(bytes(size))
    else:
      flip(path, draw.randrange(size), draw.randrange(8))
    went_back += restore(folder) == 1
    shutil.rmtree(folder)
  assert went_back  # other damage changed nothing that is read


def test_an_export_of_a_damaged_checkpoint_names_it_and_the_others(folder):
  for path in data_files(folder / "2"):
    path.unlink()
  checkpoints = Checkpoints(folder, keep=1, alone=True)
  with pytest.raises(ValueError, match=r"checkpoints/2 is damaged.*\[1\]"):
    checkpoints.restore_params(state(0).params)
  step, params = checkpoints.restore_params(state(0).params, 1)
  checkpoints.close()
  assert step == 1
  np.testing.assert_array_equal(params["w"], state(1).params["w"])


def test_arrays_of_another_model_are_no_damage(folder):
  checkpoints = Checkpoints(folder, keep=2)
  other = dataclasses.replace(
    state(0), params={"w": jnp.zeros((16, 9)), "b": jnp.zeros(3)}
  )
  with pytest.raises(ValueError, match=r"params/w is float32\[16, 8\] there"):
    checkpoints.restore(other, KEY)
  checkpoints.close()
  assert {p.name for p in folder.iterdir()} == {"1", "2"}


def change_record(folder, step, change) -> None:
  """Rewrite the record of a checkpoint."""
  path = folder / str(step) / "host" / "metadata"
  path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_a_checkpoint_from_before_there_was_a_version_is_restored(folder):
  change_record(folder, 2, lambda record: record["host"])
  assert restore(folder) == 2


def test_a_checkpoint_of_a_later_version_is_refused_in_a_sentence(
  folder, monkeypatch
):
  monkeypatch.setattr(checkpoint_record, "VERSION", 2)
  change_record(
    folder, 2, lambda record: encode(Record(record["host"], None, None, {}))
  )
  monkeypatch.undo()
  with pytest.raises(
    ValueError, match=r"format version 2.*reads formats up to"
  ):
    restore(folder)
  assert (folder / "2").is_dir()


@pytest.mark.parametrize(
  ("field", "value"),
  [("step", "2"), ("step", -60), ("tokens", 1e99), ("tokens", True)],
)
def test_a_count_of_an_old_checkpoint_is_checked_and_named(
  field, value, folder
):
  change_record(folder, 2, lambda record: {**record["host"], field: value})
  lines = []
  assert restore(folder, lines.append) == 1
  assert f"{field} is {str(value)!r}" in lines[0]


def test_an_edited_record_is_found():
  record = encode(Record({"step": 1}, {"seed": 0}, None, {}))
  decode(record)
  record["host"]["step"] = 2
  with pytest.raises(DamagedError, match="record does not match"):
    decode(record)


def test_the_digest_is_that_of_a_slow_twin():
  x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)

  def mix(h):  # MurmurHash3's finalizer, in Python integers
    h ^= h >> 16
    h = h * 0x85EBCA6B % 2**32
    h ^= h >> 13
    h = h * 0xC2B2AE35 % 2**32
    return h ^ h >> 16

  bits = x.view(np.uint32).reshape(-1).tolist()
  expected = sum(mix(b ^ mix(i)) for i, b in enumerate(bits)) % 2**32
  assert digests({"x": x})["x"] == ("float32", [3, 5], expected)


@pytest.mark.parametrize(
  "dtype", ["float32", "bfloat16", "int32", "uint8", "bool"]
)
def test_each_bit_and_each_place_counts_in_a_digest(dtype):
  x = np.zeros(6, jnp.dtype(dtype))
  number = digests({"x": x})["x"].digest
  seen = {number}
  for place in range(6):
    changed = x.copy()
    changed[place] = 1
    seen.add(digests({"x": changed})["x"].digest)
  assert len(seen) == 7


def test_the_best_checkpoint_is_kept_beside_the_newest(tmp_path):
  checkpoints = Checkpoints(tmp_path / "c", keep=1)
  for step in (1, 2, 3, 4):
    best = Best("val/x", 0.5, step) if step == 2 else None
    save(checkpoints, step, best=best)
  checkpoints.close()
  assert {p.name for p in (tmp_path / "c").iterdir()} == {"2", "4"}
  reader = Checkpoints(tmp_path / "c", keep=1, alone=True)
  assert reader.read_best() == 2
  reader.close()


def test_a_step_that_is_found_to_be_the_best_once_saved_is_recorded(folder):
  """Of the two, one is a checkpoint from before there was a version."""

  def finish_with(step, value):
    checkpoints = Checkpoints(folder, keep=1)
    saves = saves_of(checkpoints, [], [0.0], keep_best="val/x")
    if step == 3:
      save(checkpoints, 3, settings={"seed": 1})
    saves.rate(step, {"val/x": value})
    saves.finish(lambda best: save(checkpoints, step, best=best))
    assert checkpoints.best == Best("val/x", value, step)
    checkpoints.close()

  change_record(folder, 2, lambda record: record["host"])
  for step, value in ((2, 0.5), (3, 0.6)):
    finish_with(step, value)
    reader = Checkpoints(folder, keep=1, alone=True)
    assert reader.read_best() == step
    assert reader.settings() == (None if step == 2 else {"seed": 1})
    reader.close()
    assert restore(folder) == step


def test_a_record_that_cannot_be_rewritten_is_a_failed_save(
  folder, monkeypatch
):
  def full(path, text):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(checkpoint_module, "replace_text", full)
  checkpoints = Checkpoints(folder, keep=2)
  with pytest.raises(SaveError, match="no space is left"):
    save(checkpoints, 2, best=Best("val/x", 0.5, 2))
  assert checkpoints.best is None
  checkpoints.close()


@pytest.mark.parametrize("keep", [1, 3])
def test_a_checkpoint_of_some_age_is_kept_however_often_a_run_saves(
  keep, tmp_path
):
  checkpoints = Checkpoints(tmp_path / "c", keep=keep, keep_age=4)
  for step in (1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 30, 31):
    save(checkpoints, step)
    checkpoints.wait()
    steps = {int(path.name) for path in (tmp_path / "c").iterdir()}
    assert len(steps) <= keep + 2
    assert step <= 4 or any(older <= step - 4 for older in steps)
  assert checkpoints.roll_back(31 - 4) == 13
  checkpoints.close()


class Full:
  """A disk that is full: files may not grow beyond a few bytes."""

  def __init__(self, monkeypatch, checkpoints):
    self.is_full = True
    manager = checkpoints._manager
    inner = manager.save

    def save(*args, **kwargs):
      if self.is_full:
        raise OSError(28, "No space left on device")
      return inner(*args, **kwargs)

    monkeypatch.setattr(manager, "save", save)


def saves_of(checkpoints, lines, now, **settings):
  """Return Saves whose clock is now[0]."""

  def sleep(seconds):
    now[0] += seconds

  return Saves(
    checkpoints,
    **{"every": 0, "minutes": 10, "keep_best": None, **settings},
    report=lines.append,
    clock=lambda: now[0],
    sleep=sleep,
  )


def test_a_full_disk_warns_in_a_line_and_the_save_is_tried_again(
  tmp_path, monkeypatch
):
  checkpoints = Checkpoints(tmp_path / "c", keep=2)
  disk, lines, now = Full(monkeypatch, checkpoints), [], [0.0]
  saves = saves_of(checkpoints, lines, now)
  assert not saves.due(1)
  now[0] = 600.0
  assert saves.due(2)
  saves.save(lambda best: save(checkpoints, 2))
  (line,) = lines
  assert "no space is left" in line and "\n" not in line
  assert not saves.due(3)
  now[0] += 61
  disk.is_full = False
  assert saves.due(4)
  saves.save(lambda best: save(checkpoints, 4))
  checkpoints.close()
  assert len(lines) == 1
  assert restore(tmp_path / "c") == 4


def test_a_save_that_fails_in_the_background_keeps_the_older_checkpoint(
  folder, monkeypatch
):
  checkpoints = Checkpoints(folder, keep=1)
  inner = checkpoints._manager._checkpointer.wait_until_finished

  def fails():
    inner()
    if (folder / "3").exists():
      shutil.rmtree(folder / "3")
      raise OSError(5, "Input/output error")

  monkeypatch.setattr(
    checkpoints._manager._checkpointer, "wait_until_finished", fails
  )
  save(checkpoints, 3)
  with pytest.raises(SaveError, match="Input/output error"):
    checkpoints.wait()
  assert checkpoints.latest() == 2
  monkeypatch.undo()
  save(checkpoints, 3)  # the same step again
  checkpoints.close()
  assert restore(folder) == 3


def test_the_end_of_a_run_that_cannot_be_saved_is_an_error_in_one_line(
  folder, monkeypatch
):
  checkpoints = Checkpoints(folder, keep=2)
  Full(monkeypatch, checkpoints)
  saves = saves_of(checkpoints, [], [0.0])
  with pytest.raises(ValueError, match=r"no space is left.*checkpoint 2"):
    saves.finish(lambda best: save(checkpoints, 3))
  checkpoints.close()


def test_saves_are_due_by_steps_by_time_and_where_the_policy_is_best(tmp_path):
  checkpoints = Checkpoints(tmp_path / "c", keep=1)
  now = [0.0]
  saves = saves_of(checkpoints, [], now, every=3, keep_best="val/x")
  assert [saves.due(step) for step in (1, 2, 3)] == [False, False, True]
  saves.rate(0, {"val/x": 0.9})  # the base itself is not kept
  assert not saves.due(1)
  saves.rate(4, {"val/x": 0.4})
  assert saves.due(4)
  saves.save(lambda best: save(checkpoints, 4, best=best))
  assert checkpoints.best == Best("val/x", 0.4, 4)
  saves.rate(5, {"val/x": 0.4})
  assert not saves.due(5)
  with pytest.raises(ValueError, match=r"'val/x' is no metric.*val/y"):
    saves.rate(7, {"val/y": 1.0})
  checkpoints.close()


def test_a_probe_finds_out_before_the_first_step_that_saving_fails(
  tmp_path, monkeypatch
):
  checkpoints = Checkpoints(tmp_path / "c", keep=1)
  checkpoints.probe(state(0), KEY, read_back=True)
  assert not list((tmp_path / "c").iterdir())
  inner = checkpoint_module.open_manager

  def full(folder, **options):
    manager = inner(folder, **options)
    if folder.name == "probe":

      def save(*args, **kwargs):
        raise OSError(30, "Read-only file system")

      manager.save = save
    return manager

  monkeypatch.setattr(checkpoint_module, "open_manager", full)
  with pytest.raises(ValueError, match=r"does not start: .*Read-only"):
    checkpoints.probe(state(0), KEY, read_back=True)
  checkpoints.close()


def test_a_folder_that_cannot_hold_checkpoints_is_named(tmp_path):
  (tmp_path / "c").write_text("a file")
  with pytest.raises(ValueError, match="cannot hold checkpoints"):
    Checkpoints(tmp_path / "c", keep=1)
