"""Lock the directory of a run, and write its config and its evaluations.

A run directory of entrojax.main holds these files. This module writes
config.json, evaluations.jsonl and samples.jsonl; other modules write the rest.

config.json       the resolved config
provenance.json   the command, settings, versions and devices of each start
metrics.jsonl     a line for each rollout step and a line for each evaluation
evaluations.jsonl the number of right answers to each prompt, per evaluation
samples.jsonl     some responses of each evaluation, with their verdicts
output.txt        what the run printed, if entrojax.sweep started it
tensorboard/      the numbers of metrics.jsonl, for TensorBoard
checkpoints/      the newest checkpoints, one directory each
rollouts.jsonl    the rollouts that an offline run collected itself
profile/          the XProf trace of a run with --profile

The lock is the file .lock, which only one process can hold at a time.
`check_processes` and `differences` compare settings, `flatten` lists them.
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
EVALUATIONS_FILE = "evaluations.jsonl"
SAMPLES_FILE = "samples.jsonl"
ROLLOUTS_FILE = "rollouts.jsonl"
_LOCK = ".lock"

# The settings that a resumed run may change: none of them affects training.
_MAY_CHANGE = (
  *("num_rollout_steps", "num_steps"),
  *("evaluation", "checkpoint", "log", "mesh"),
)


class HeldError(ValueError):
  """Another process holds the directory."""


@contextlib.contextmanager
def hold_workdir(workdir: Path) -> Iterator[None]:
  """Lock the directory (created if missing) for this process.

  The operating system releases the lock when the process exits. A directory
  that was created here and stays empty is removed again.

  Raises:
    HeldError: another process holds the lock.
    ValueError: the directory cannot be created.
  """
  is_new = not workdir.exists()
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
      raise HeldError(
        f"workdir {workdir} is held by another run (process {lock.read()})"
      ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    try:
      yield
    finally:
      if is_new and [path.name for path in workdir.iterdir()] == [_LOCK]:
        (workdir / _LOCK).unlink()
        workdir.rmdir()


def check_processes(**settings: Any) -> None:
  """Check that all processes were started with the same settings.

  Args:
    **settings: the settings of this process, as JSON can hold them.

  Raises:
    ValueError: the settings of a process differ from the first one's. Every
      process raises it, with the same message.
  """
  first, *others = hosts.gather_json(settings)
  for number, other in enumerate(others, start=1):
    changed = differences(first, other, "{key} is {old}, not {new}")
    if changed:
      raise ValueError(
        f"process 0 has other settings than process {number}: "
        f"{'; '.join(changed)}"
      )


def write_config(
  workdir: Path, config: Mapping[str, Any], *, saved: bool, resume: bool
) -> None:
  """Write config.json, after checking it against the run in the directory.

  Args:
    workdir: the run directory.
    config: the resolved settings, nested.
    saved: whether the directory holds a checkpoint. A run that ended before its
      first checkpoint is replaced.
    resume: whether this run continues from the checkpoint.

  Raises:
    ValueError: the directory holds a run and `resume` is false, or a setting
      differs that a resumed run may not change. The message names the setting.
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


def append_rows(
  workdir: Path, name: str, rows: Sequence[Mapping[str, Any]]
) -> None:
  """Append rows to a file of the run directory, one JSON line each.

  Args:
    workdir: the run directory.
    name: the file, EVALUATIONS_FILE or SAMPLES_FILE.
    rows: each has a `rollout_step`.
  """
  with (workdir / name).open("a") as file:
    for row in rows:
      file.write(json.dumps(row) + "\n")


def trim_rows(workdir: Path, name: str, rollout_step: int | None) -> None:
  """Remove the rows of evaluations after `rollout_step`; all if None.

  Args:
    workdir: the run directory.
    name: the file, EVALUATIONS_FILE or SAMPLES_FILE.
    rollout_step: the last rollout step whose rows are kept.
  """
  path = workdir / name
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
  old: Mapping[str, Any],
  new: Mapping[str, Any],
  template: str = "{key} was {old}, is {new}",
) -> list[str]:
  """List the settings that differ, as 'section.key was 1, is 2'.

  Args:
    old: nested settings, as read from JSON.
    new: nested settings, as JSON can hold them.
    template: the text for each difference, with {key}, {old} and {new}.
  """
  olds, news = flatten(old), flatten(json.loads(json.dumps(new)))
  return [
    template.format(key=key, old=repr(olds.get(key)), new=repr(news.get(key)))
    for key in sorted(olds.keys() | news.keys())
    if olds.get(key) != news.get(key)
  ]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Flatten nested settings to 'section.key' -> value."""
  leaves: dict[str, Any] = {}
  for key, value in tree.items():
    if isinstance(value, dict) and value:
      leaves |= flatten(value, f"{prefix}{key}.")
    else:
      leaves[f"{prefix}{key}"] = value
  return leaves
