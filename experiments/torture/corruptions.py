"""Damage files of checkpoints and run directories, and read them again.

A bit is flipped in a file, or the file is cut, emptied, deleted, filled with
zeros or replaced by other bytes. Afterwards a checkpoint that is read must be
bit for bit one that was saved. If the newest one is damaged, the older one is
read. A log that cannot be read is one line of error.
"""

from collections.abc import Callable
import contextlib
import io
import json
from pathlib import Path
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.reporting.run_logs import read_run
from entrojax.reporting.writer import open_writer
from entrojax.system.checkpoint import Checkpoints
from entrojax.system.workdir import trim_rows, write_config
from entrojax.types import TrainState
from experiments.torture.score import Score, one_line

_KEY_SEED = 3
_CONFIG = {"seed": 0, "optimizer": {"learning_rate": 0.1}}


def torture(draw: random.Random, count: int, folder: Path) -> list[Score]:
  """Damage a file of a checkpoint or of a run directory `count` times each."""
  _save(folder / "saved")
  _write_logs(folder / "logs")
  checkpoints, logs = [], []
  for number in range(count):
    trial = shutil.copytree(folder / "saved", folder / f"saved_{number}")
    path, harm = damage(trial / "2", draw)
    where = f"{harm} {path.relative_to(trial)}"
    checkpoints += [f"{where}: {text}" for text in _restore(trial)]
    shutil.rmtree(trial)
    trial = shutil.copytree(folder / "logs", folder / f"logs_{number}")
    path, harm = damage(trial, draw)
    logs += [f"{harm} {path.name}: {text}" for text in _read_logs(trial)]
    shutil.rmtree(trial)
  return [
    Score("damaged checkpoints: a saved one is restored", count, checkpoints),
    Score("damaged run directories: read, or one line", count, logs),
  ]


def damage(folder: Path, draw: random.Random) -> tuple[Path, str]:
  """Damage one file below a folder; return it, and how it was damaged."""
  paths = sorted(path for path in folder.rglob("*") if path.is_file())
  path = draw.choice(paths)
  data = bytearray(path.read_bytes())
  harm = draw.choice(("flip", "cut", "empty", "zero", "garbage", "delete"))
  at = draw.randrange(max(len(data), 1))
  if harm == "delete":
    path.unlink()
    return path, harm
  if harm == "flip" and data:
    data[at] ^= 1 << draw.randrange(8)
  elif harm == "cut":
    data = data[:at]
  elif harm == "empty":
    data = bytearray()
  elif harm == "zero":
    data = bytearray(len(data))
  elif harm == "garbage":
    data[at:] = draw.randbytes(64)
  path.write_bytes(data)
  return path, harm


def _state(step: int) -> TrainState:
  """Return a small state that depends on the step."""
  weights = np.random.default_rng(step).normal(size=(16, 8))
  params = {"w": jnp.asarray(weights, jnp.float32)}
  moments = {"m": jnp.asarray(weights, jnp.bfloat16)}
  return TrainState(params, moments, jnp.asarray(step, jnp.int32))


def _save(folder: Path) -> None:
  """Save the checkpoints 1 and 2."""
  checkpoints = Checkpoints(folder, keep=2)
  for step in (1, 2):
    host = {"data": {"position": step}, "step": step, "tokens": 10 * step}
    key = jax.random.key(_KEY_SEED)
    checkpoints.save(step, _state(step), key, host, settings=_CONFIG)
  checkpoints.close()


def _restore(folder: Path) -> list[str]:
  """Restore the newest intact checkpoint; return what is wrong with it."""
  checkpoints = None
  try:
    checkpoints = Checkpoints(folder, keep=2)
    restored = checkpoints.restore(_state(0), jax.random.key(_KEY_SEED))
  except Exception as error:
    return [f"no checkpoint was restored: {one_line(error) or error}"]
  finally:
    if checkpoints is not None:
      checkpoints.close()
  saved = _state(restored.rollout_step)
  same = jax.tree.map(
    lambda a, b: bool(jnp.array_equal(a, b)), restored.state, saved
  )
  wrong = [] if all(jax.tree.leaves(same)) else ["other arrays were restored"]
  if restored.host["tokens"] != 10 * restored.rollout_step:
    wrong.append("other counters were restored")
  return wrong


def _write_logs(workdir: Path) -> None:
  """Write the logs of a run of three steps."""
  workdir.mkdir()
  write_config(workdir, _CONFIG, saved=False, resume=True)
  with open_writer(workdir) as writer:
    for step in range(4):
      writer.write(
        {"actor/entropy": 0.5, "critic/rewards/mean": 0.1 * step},
        step=step,
        rollout_step=step,
        tokens=step,
      )
  shutil.rmtree(workdir / "tensorboard")
  rows = [json.dumps({"rollout_step": step}) for step in (0, 3)]
  (workdir / "samples.jsonl").write_text("\n".join(rows) + "\n")


def _read_logs(workdir: Path) -> list[str]:
  """Read logs as a report and a resumed run do; return what is wrong."""

  def resume() -> None:
    with open_writer(workdir, resumed_rollout_step=2):
      pass

  reads: list[Callable[[], object]] = [
    lambda: read_run("run", workdir),
    lambda: write_config(workdir, _CONFIG, saved=True, resume=True),
    lambda: trim_rows(workdir, "samples.jsonl", 2),
    resume,
  ]
  wrong = []
  for read in reads:
    try:
      with contextlib.redirect_stdout(io.StringIO()):  # warnings of lost rows
        read()
    except Exception as error:
      wrong += [text] if (text := one_line(error)) else []
  return wrong
