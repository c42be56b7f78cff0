"""Apply the roll-backs of a run to its config, and check those to come."""

from collections.abc import Sequence
import copy
from typing import Any

from ml_collections import ConfigDict as Config

from entrojax.reporting.alarms import ROLL_BACK, WATCHED
from entrojax.system.roll_backs import RollBack


def with_roll_backs(config: Config, roll_backs: Sequence[RollBack]) -> Config:
  """Return a copy of a config after the roll-backs of its run.

  Each has changed a setting. Its alarm has done its part: if it is raised
  again, it ends the run. Without another alarm that rolls back, nothing reads
  alarms.roll_back any more, and it is empty.
  """
  config = copy.deepcopy(config)
  for roll_back in roll_backs:
    _change(config, roll_back.setting, roll_back.value)
    config.alarms[roll_back.alarm] = "stop"
  if roll_backs and not _alarms_that_roll_back(config):
    config.alarms.roll_back = ()
  return config


def _alarms_that_roll_back(config: Config) -> list[str]:
  return [name for name in WATCHED if config.alarms[name] == ROLL_BACK]


def changed_by_roll_back(config: Config) -> Config | None:
  """Check alarms.roll_back; return the config that a roll-back would leave.

  Args:
    config: the settings of the run.

  Returns:
    The changed config, to be checked itself; None if no alarm rolls back.

  Raises:
    ValueError: the setting cannot be changed to the value, or the run has no
      checkpoint to go back to.
  """
  alarms, saves = config.alarms, config.checkpoint
  names = _alarms_that_roll_back(config)
  if not names:
    return None
  change = tuple(alarms.roll_back)
  if len(change) != 2 or not isinstance(change[0], str):
    raise ValueError(
      f"alarms.{names[0]} is '{ROLL_BACK}', and alarms.roll_back = {change!r}; "
      "expected a setting and its new value, as in "
      "('ppo_clip.clip_high', 0.28)"
    )
  if not saves.every:
    raise ValueError(
      f"alarms.{names[0]} is '{ROLL_BACK}', which needs a checkpoint from "
      f"before the last alarms.window = {alarms.window} rollout steps: set "
      "checkpoint.every, which is 0, to a number of rollout steps"
    )
  changed = copy.deepcopy(config)
  _change(changed, *change)
  for name in names:
    changed.alarms[name] = "stop"
  changed.alarms.roll_back = ()
  return changed


def _change(config: Config, key: str, value: Any) -> None:
  """Change a setting; raise ValueError if it cannot have the value."""
  section, _, leaf = key.rpartition(".")
  try:
    place = config[section] if section else config
    if leaf not in place:
      raise KeyError("there is no such setting")
    place[leaf] = value
  except (KeyError, AttributeError, TypeError, ValueError) as error:
    raise ValueError(
      f"alarms.roll_back: {key} cannot be {value!r}: {error}"
    ) from error
