"""Lock the directory of a run, and write its config and its evaluations.

A run directory of entrojax.main holds these files. This module writes
config.json, evaluations.jsonl and samples.jsonl, and makes earlier_1/; other
modules write the rest.

config.json       the resolved config
provenance.json   the command, settings, versions and devices of each start
metrics.jsonl     a line for each rollout step and a line for each evaluation
evaluations.jsonl the number of right answers to each prompt, per evaluation
samples.jsonl     some responses of each evaluation, with their verdicts
tokens/           the tokens of some responses, a file per evaluation and set
output.txt        what the run printed, if entrojax.sweep started it
tensorboard/      the numbers of metrics.jsonl, for TensorBoard
wandb_id          the id of the run at Weights & Biases, if it is sent there
rematerialise.json  what the backward pass keeps, if the run chose that itself
checkpoints/      the newest checkpoints and the best one, one directory each
roll_backs.jsonl  the alarms that took the run back to an earlier checkpoint
batches/          the rollout batches that are kept for entrojax.replay
earlier_1/        the logs of a start that ended before its first checkpoint,
                  put aside when the run starts over
rollouts.jsonl    the rollouts that an offline run collected itself
profile/          the XProf trace of a run with --profile

The lock is the file .lock, which only one process can hold at a time. A run is
resumed only if its config has the settings of the run in the directory, apart
from those that do not affect training. `check_processes` checks that all
processes of a run were started with the same settings. `differences` lists the
settings in which two configs differ.
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
TOKENS_FOLDER = "tokens"
ROLLOUTS_FILE = "rollouts.jsonl"
BATCHES_FOLDER = "batches"  # instruments/kept_batches.py
ROLL_BACKS_FILE = "roll_backs.jsonl"  # system/roll_backs.py
WANDB_ID_FILE = "wandb_id"  # reporting/writer.py
SWEEP_FILE = "sweep.json"  # of a directory of many runs, sweeps/record.py
LOCK = ".lock"

# The settings that a resumed run may change: none of them affects training.
_MAY_CHANGE = (
  *("num_rollout_steps", "num_steps"),
  *("evaluation", "checkpoint", "log", "ledger", "alarms", "faults", "mesh"),
)
# The files that describe what a run has done so far. rematerialise.json is not
# among them: a run that starts over has already replaced it.
_LOGS = (
  *(CONFIG_FILE, "provenance.json", "metrics.jsonl", "tensorboard"),
  *(EVALUATIONS_FILE, SAMPLES_FILE, TOKENS_FOLDER, ROLL_BACKS_FILE),
  *(BATCHES_FOLDER, WANDB_ID_FILE),
)


class HeldError(ValueError):
  """Another process holds the directory."""


@contextlib.contextmanager
def hold_workdir(workdir: Path, name: str = "workdir") -> Iterator[None]:
  """Lock the directory (created if missing) for this process.

  The operating system releases the lock when the process exits. A directory
  that was created here and stays empty is removed again.

  Args:
    workdir: the directory.
    name: the name of the setting or flag, for messages.

  Raises:
    HeldError: another process holds the lock.
    ValueError: the directory cannot be created.
  """
  is_new = not workdir.exists()
  if workdir.is_file():
    raise ValueError(f"{name} {workdir} is a file; expected a directory")
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock = (workdir / LOCK).open("a+")
  except OSError as error:
    raise ValueError(f"{name} {workdir}: {error.strerror}") from error
  with lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      lock.seek(0)
      raise HeldError(
        f"{name} {workdir} is held by another run (process {lock.read()})"
      ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    try:
      yield
    finally:
      if is_new and [path.name for path in workdir.iterdir()] == [LOCK]:
        (workdir / LOCK).unlink()
        workdir.rmdir()


@contextlib.contextmanager
def hold_file(path: Path) -> Iterator[None]:
  """Lock a file (created empty if missing) that this process writes.

  A file that stays empty is removed again.

  Raises:
    HeldError: another process writes the file.
    ValueError: the file cannot be created.
  """
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
  except OSError as error:
    raise ValueError(f"{path}: {error.strerror}") from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise HeldError(
        f"{path} is being written by another process: wait for it, or choose "
        "another file"
      ) from None
    try:
      yield
    finally:
      if path.exists() and not path.stat().st_size:
        path.unlink()


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
  workdir: Path,
  config: Mapping[str, Any],
  *,
  saved: bool,
  resume: bool,
  recorded: Mapping[str, Any] | None = None,
  defaults: Mapping[str, Any] | None = None,
  may_change: Sequence[str] = (),
) -> None:
  """Write config.json, after checking it against the run in the directory.

  Args:
    workdir: the run directory.
    config: the resolved settings, nested.
    saved: whether the directory holds a checkpoint. A run that ended before its
      first checkpoint is replaced.
    resume: whether this run continues from the checkpoint.
    recorded: the settings that the checkpoint has recorded; None: it has none,
      and config.json is compared.
    defaults: the default settings, nested; see `differences`.
    may_change: settings that may differ, besides those that always may.

  Raises:
    ValueError: the directory holds a run and `resume` is false, a setting
      differs that a resumed run may not change, or the settings of the run in
      the directory are unknown. The message names the setting or the file.
  """
  path = workdir / CONFIG_FILE
  text = json.dumps(config, indent=2, sort_keys=True) + "\n"
  if saved:
    if not resume:
      raise ValueError(
        f"workdir {workdir} holds a run: resume it, or choose another workdir"
      )
    before = recorded or _read_config(path)
    changes = differences(before, config, defaults=defaults)
    allowed = (*_MAY_CHANGE, *may_change)
    changed = [text for text in changes if not concerns(text, allowed)]
    if changed:
      message = f"cannot resume {workdir} with another config: "
      message += "; ".join(changed)
      if any(concerns(text, ("num_rollout_steps",)) for text in changes):
        message += (
          ". Some settings, such as optimizer.decay_steps, follow "
          "num_rollout_steps unless they are set: to change the length of the "
          "run, set them to their old values"
        )
      raise ValueError(message)
  replace_text(path, text)


def refuse_directory_of(folder: Path, name: str, *owners: str) -> None:
  """Raise ValueError if a folder belongs to something that would suffer.

  Args:
    folder: the folder to write to, which need not exist.
    name: how the user calls it, such as "--output".
    owners: what it must not belong to: "sweep", "run", "model".
  """
  marks = {
    "sweep": (SWEEP_FILE,),
    "run": ("checkpoints", "metrics.jsonl", "provenance.json"),
    "model": ("*.safetensors",),
  }
  for owner in owners:
    if any(any(folder.glob(mark)) for mark in marks[owner]):
      raise ValueError(
        f"{name} {folder} is the directory of a {owner}, whose files would be "
        f"overwritten: choose another {name}"
      )


def begin_or_resume(
  workdir: Path,
  config: Mapping[str, Any],
  *,
  fresh: bool,
  resume: bool,
  recorded: Mapping[str, Any] | None,
  defaults: Mapping[str, Any] | None,
  may_change: Sequence[str] = (),
) -> None:
  """Write config.json of a run that begins or resumes; see `write_config`.

  A run without a checkpoint starts over. If the directory has logs of it, they
  are moved away, and a printed line names the folder.

  Args:
    workdir: the run directory.
    config: the resolved settings, nested.
    fresh: whether the directory holds no checkpoint.
    resume: whether the run may continue from a checkpoint.
    recorded: the settings that the checkpoint has recorded, or None.
    defaults: the default settings, nested, or None.
    may_change: settings that may differ, besides those that always may.

  Raises:
    ValueError: the run in the directory has other settings, or a sweep or a
      model is in the directory, whose config.json would be overwritten.
  """
  if fresh:
    refuse_directory_of(workdir, "workdir", "sweep", "model")
  aside = set_logs_aside(workdir) if fresh else None
  if aside is not None:
    print(
      f"{workdir} has logs but no checkpoint: the run starts over, and the old "
      f"logs are now in {aside}",
      flush=True,
    )
  write_config(
    workdir,
    config,
    saved=not fresh,
    resume=resume,
    recorded=recorded,
    defaults=defaults,
    may_change=may_change,
  )


def _read_config(path: Path) -> dict[str, Any]:
  """Read config.json of a run that is resumed.

  Raises:
    ValueError: it is missing or damaged, so the settings cannot be compared.
  """
  try:
    config = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{path} cannot be read ({error}), and the checkpoints of this run have "
      "no record of its settings: put the file back to resume"
    ) from error
  if not isinstance(config, dict):
    raise ValueError(f"{path} is no JSON object: put the file back to resume")
  return config


def read_config(workdir: Path) -> dict[str, Any]:
  """Read config.json of a run.

  Raises:
    ValueError: it is missing or damaged; the message names the file.
  """
  path = workdir / CONFIG_FILE
  try:
    config = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise ValueError(f"{path} cannot be read: {error}") from error
  if not isinstance(config, dict):
    raise ValueError(f"{path} cannot be read: it is no JSON object")
  return config


def concerns(difference: str, names: Sequence[str]) -> bool:
  """Return whether a line of `differences` is about one of these settings.

  Args:
    difference: 'section.key was 1, is 2'.
    names: sections, or settings as 'section.key'.
  """
  key = difference.partition(" ")[0]
  return any(key == name or key.startswith(f"{name}.") for name in names)


def set_logs_aside(workdir: Path) -> Path | None:
  """Move the logs of a run that no checkpoint belongs to into a folder.

  Logs that hold no step are left, to be overwritten.

  Returns:
    The folder; None if nothing was moved.
  """
  metrics = workdir / "metrics.jsonl"
  if not metrics.exists() or not _has_steps(metrics):
    return None
  number = 1
  while (folder := workdir / f"earlier_{number}").exists():
    number += 1
  folder.mkdir()
  for name in _LOGS:
    if (workdir / name).exists():
      (workdir / name).rename(folder / name)
  return folder


def _has_steps(metrics: Path) -> bool:
  """Return whether metrics.jsonl has a line after the first evaluation."""
  with metrics.open(errors="replace") as file:
    for line in file:
      try:
        row = json.loads(line)
      except (ValueError, RecursionError):
        return True
      if not isinstance(row, dict) or row.get("rollout_step") != 0:
        return True
  return False


def replace_text(path: Path, text: str) -> None:
  """Replace a file's text in one step.

  If the process is killed, the file holds either the old text or the new one.
  """
  draft = draft_of(path)
  draft.write_text(text, encoding="utf-8")
  draft.replace(path)


def draft_of(path: Path) -> Path:
  """Return the file that `replace_text` writes first.

  It stays behind if the process is killed, or the disk full, meanwhile.
  """
  return path.with_name(path.name + ".tmp")


def append_text(path: Path, text: str) -> None:
  """Append a text to a file, or leave the file as it is.

  Raises:
    OSError: the text could not be written, as on a full disk.
  """
  data = text.encode()
  with path.open("ab", buffering=0) as file:
    size = file.seek(0, os.SEEK_END)
    try:
      while data:
        data = data[file.write(data) :]
    except OSError:
      file.truncate(size)
      raise


def append_rows(
  workdir: Path, name: str, rows: Sequence[Mapping[str, Any]]
) -> None:
  """Append rows to a file of the run directory, one JSON line each.

  Args:
    workdir: the run directory.
    name: the file, EVALUATIONS_FILE or SAMPLES_FILE.
    rows: each has a `rollout_step`.

  Raises:
    OSError: they could not be written; then none of them is.
  """
  append_text(workdir / name, "".join(f"{json.dumps(row)}\n" for row in rows))


def trim_rows(workdir: Path, name: str, rollout_step: int) -> None:
  """Remove the rows of evaluations after `rollout_step`.

  Args:
    workdir: the run directory.
    name: the file, EVALUATIONS_FILE or SAMPLES_FILE.
    rollout_step: the last rollout step whose rows are kept; below 0: none.

  Raises:
    ValueError: a row that may have to be kept is damaged.
  """
  path = workdir / name
  if not path.exists():
    return
  kept = []
  if rollout_step >= 0:
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
      if line.endswith("\n") and _step_of(path, number, line) <= rollout_step:
        kept.append(line)
  replace_text(path, "".join(kept))


def _step_of(path: Path, number: int, line: str) -> int:
  """Return the rollout step of a line.

  Raises:
    ValueError: the line is damaged; the message has the file and the number.
  """
  try:
    step = json.loads(line)["rollout_step"]
    if type(step) is int:
      return step
  except (ValueError, LookupError, TypeError, RecursionError):
    pass
  raise ValueError(
    f"{path}:{number}: not a JSON object with a rollout_step: remove the line "
    "or the file to resume"
  )


def differences(
  old: Mapping[str, Any],
  new: Mapping[str, Any],
  template: str = "{key} was {old}, is {new}",
  *,
  defaults: Mapping[str, Any] | None = None,
) -> list[str]:
  """List the settings that differ, as 'section.key was 1, is 2'.

  Args:
    old: nested settings, as read from JSON.
    new: nested settings, as JSON can hold them.
    template: the text for each difference, with {key}, {old} and {new}.
    defaults: nested settings. A setting that the code of `old` did not have yet
      counts as its default, so that a new method does not keep older runs from
      being resumed. None: it counts as None.
  """
  olds, news = flatten(old), flatten(json.loads(json.dumps(new)))
  if defaults is not None:
    added = flatten(json.loads(json.dumps(defaults)))
    olds = {key: added[key] for key in news if key in added} | olds
    # a section that has got its first settings, or had none
    olds, news = (
      {key: value for key, value in leaves.items() if value != {}}
      for leaves in (olds, news)
    )
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
