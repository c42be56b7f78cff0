"""A run's directory: held by one process, described by its config.json.

config.json       the resolved config
metrics.jsonl     one line a rollout step or evaluation
samples.jsonl     some responses of each evaluation, with their verdicts
tensorboard/      the same numbers
checkpoints/      one directory a saved step
rollouts.jsonl    of an offline run, unless it was given others
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any

from entrojax.system import hosts

CONFIG_FILE = "config.json"
SAMPLES_FILE = "samples.jsonl"
ROLLOUTS_FILE = "rollouts.jsonl"
_LOCK = ".lock"

# What a resumed run may change: nothing here moves a number of the training.
_MAY_CHANGE = (
  *("num_rollout_steps", "num_steps"),
  *("evaluation", "checkpoint", "log", "mesh"),
)


@contextlib.contextmanager
def hold_workdir(workdir: Path) -> Iterator[None]:
  """Holds a directory, made if absent; the system lets go when we die.

  One that nothing was written into is left as it was found.

  Raises:
    ValueError: another process holds it, or it cannot be made.
  """
  absent = not workdir.exists()
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock = (workdir / _LOCK).open("a+")
  except OSError as error:
    raise ValueError(f"workdir {workdir}: {error.strerror}") from error
  with lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      lock.seek(0)
      raise ValueError(
        f"workdir {workdir} is held by another run (process {lock.read()})"
      ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    try:
      yield
    finally:
      if absent and [path.name for path in workdir.iterdir()] == [_LOCK]:
        (workdir / _LOCK).unlink()
        workdir.rmdir()


def check_processes(**given: Any) -> None:
  """Checks that all processes are to run the same.

  Args:
    **given: what each was given; what JSON can hold.

  Raises:
    ValueError: one was given something else, said in every process.
  """
  first, *others = hosts.gather_json(given)
  for number, other in enumerate(others, start=1):
    changed = differences(first, other, "{key} is {then}, not {now}")
    if changed:
      raise ValueError(
        f"process 0 runs something else than process {number}: "
        f"{'; '.join(changed)}"
      )


def write_config(
  workdir: Path, config: Mapping[str, Any], *, saved: bool, resume: bool
) -> None:
  """Writes config.json after checking that it describes a saved run.

  Args:
    workdir: the run directory.
    config: the resolved settings, nested.
    saved: whether the directory holds a checkpoint; what ended before its
      first one binds nobody.
    resume: whether to go on from the checkpoint.

  Raises:
    ValueError: the directory holds a run and `resume` is false, or a setting
      differs that a resumed run may not change; the message names it.
  """
  path = workdir / CONFIG_FILE
  text = json.dumps(config, indent=2, sort_keys=True) + "\n"
  if saved and path.exists():
    if not resume:
      raise ValueError(
        f"workdir {workdir} holds a run: resume it, or choose another workdir"
      )
    changed = [
      difference
      for difference in differences(json.loads(path.read_text()), config)
      if not difference.startswith(_MAY_CHANGE)
    ]
    if changed:
      raise ValueError(
        f"cannot resume {workdir} with another config: {'; '.join(changed)}"
      )
  path.write_text(text)


def append_samples(workdir: Path, samples: Sequence[Mapping[str, Any]]) -> None:
  """Adds a line of JSON a sample to samples.jsonl."""
  with (workdir / SAMPLES_FILE).open("a") as file:
    for sample in samples:
      file.write(json.dumps(sample) + "\n")


def trim_samples(workdir: Path, rollout_step: int | None) -> None:
  """Drops the samples of evaluations after `rollout_step`; None: of all."""
  path = workdir / SAMPLES_FILE
  if not path.exists():
    return
  kept = [
    line
    for line in path.read_text().splitlines(keepends=True)
    if rollout_step is not None
    and line.endswith("\n")
    and json.loads(line)["rollout_step"] <= rollout_step
  ]
  path.write_text("".join(kept))


def differences(
  before: Mapping[str, Any],
  now: Mapping[str, Any],
  words: str = "{key} was {then}, is {now}",
) -> list[str]:
  """Returns 'section.key was 1, is 2' of nested settings that differ.

  Args:
    before: as read from JSON.
    now: what JSON can hold.
    words: how it is said.
  """
  then, now = _leaves(before), _leaves(json.loads(json.dumps(now)))
  return [
    words.format(key=key, then=repr(then.get(key)), now=repr(now.get(key)))
    for key in sorted(then.keys() | now.keys())
    if then.get(key) != now.get(key)
  ]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Flattens nested settings to 'section.key' -> value."""
  leaves: dict[str, Any] = {}
  for key, value in tree.items():
    if isinstance(value, dict) and value:
      leaves |= _leaves(value, f"{prefix}{key}.")
    else:
      leaves[f"{prefix}{key}"] = value
  return leaves
