"""Record that a run went back to an earlier checkpoint with a changed setting.

    {"alarm": "collapse", "at": 340, "to": 320,
     "setting": "ppo_clip.clip_high", "value": 0.28}

Each line of roll_backs.jsonl in the run directory is such a roll-back. The file
is read at every start of the run, so that the command that the user typed
resumes the run with the changed settings.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from entrojax.system.workdir import ROLL_BACKS_FILE, append_rows


class RollBack(NamedTuple):
  """One roll-back."""

  alarm: str  # its name
  at: int  # the rollout step after which the run went back
  to: int  # the rollout step of the checkpoint
  setting: str  # 'section.leaf', changed from there on
  value: Any


def append_roll_back(workdir: Path, roll_back: RollBack) -> None:
  """Append a roll-back to the run directory's file."""
  append_rows(workdir, ROLL_BACKS_FILE, [roll_back._asdict()])


def read_roll_backs(workdir: Path) -> list[RollBack]:
  """Return the roll-backs of a run, in their order; none: an empty list.

  Raises:
    ValueError: the file is damaged; the message names it and the line.
  """
  path = workdir / ROLL_BACKS_FILE
  if not path.exists():
    return []
  roll_backs = []
  for number, line in enumerate(path.read_text().splitlines(), start=1):
    try:
      roll_backs.append(RollBack(**json.loads(line)))
    except (ValueError, TypeError, RecursionError) as error:
      raise ValueError(
        f"{path}:{number}: not a roll-back ({error}): remove the line, and set "
        "its setting in the command"
      ) from None
  return roll_backs
