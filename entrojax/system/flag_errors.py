"""Report mistakes on a command line, a line for each, with the nearest name.

absl and ml-collections raise the errors; the functions here turn them into
messages that name the flag or setting as the user wrote it.
"""

from collections.abc import Sequence
import difflib
import re
import sys
from typing import NoReturn

from absl import flags
from ml_collections import config_flags

from entrojax.system import config_files
from entrojax.system.help_page import Page
from entrojax.system.refusals import numbered
from entrojax.system.terminal import harmless

EXIT_WRONG = 2
# what ml-collections raises for a setting, besides the errors of absl
WRONG = (AttributeError, KeyError, TypeError, ValueError, OSError)


def fail(message: str) -> NoReturn:
  """Print one line on stderr and exit with status 2."""
  print(f"error: {harmless(message, keep_lines=True)}", file=sys.stderr)
  sys.exit(EXIT_WRONG)


def unknown_flag(page: Page, name: str) -> str:
  """Return the message about a flag that does not exist."""
  if name.startswith("config.") and not page.flag_values["config"].present:
    return f"--config is required, before --{name}"
  near = difflib.get_close_matches(name, page.own, n=1)
  hint = f"did you mean --{near[0]}?" if near else "see --help"
  return f"unknown flag --{name}; {hint}"


def _wrong_flag(text: str) -> str:
  """Return the message about a flag's value as one line.

  An exception in the config file reaches absl as the text of a traceback. Its
  last line has the error.
  """
  if text.startswith("Missing value for flag "):
    return f"{text.split()[-1]} needs a value"
  first, _, rest = text.strip().partition("\n")
  if "Traceback" in rest:
    flag = first.removesuffix(": Error whilst parsing config file:")
    first = f"{flag}: {rest.strip().splitlines()[-1]}"
  elif rest:
    first = " ".join(text.split())
  return first.removeprefix("flag ")


def wrong_settings(error: Exception, arguments: Sequence[str]) -> str:
  """Return the message about settings that cannot be set.

  ml-collections stops at the first one. So each setting of the command line is
  set alone here, in a config of its own.

  Args:
    error: what was raised for the whole command line.
    arguments: the command line after the program's name.
  """
  config, settings = _split(arguments)
  messages = dict.fromkeys(
    message
    for setting in settings
    if (message := _refusal(config, setting)) is not None
  )
  if len(messages) > 1:
    return numbered(list(messages))
  return message_of(error, arguments)


def message_of(error: Exception, arguments: Sequence[str]) -> str:
  """Return the message about an error of a command line as one line."""
  if isinstance(error, flags.Error):
    return _wrong_flag(str(error))
  return _wrong_setting(error, arguments)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[list[str]]]:
  """Split arguments into those that name the config and those per setting."""
  config: list[str] = []
  settings: list[list[str]] = []
  place: list[str] = []
  for argument in arguments:
    name = argument.lstrip("-").partition("=")[0]
    if not argument.startswith("-"):
      place.append(argument)  # the value of the flag before it
    elif name == "config":
      place = config
      place.append(argument)
    else:
      place = [argument]
      if name.removeprefix("no").startswith("config."):
        settings.append(place)
  return config, settings


def _refusal(config: Sequence[str], setting: Sequence[str]) -> str | None:
  """Return the message about a setting; None if it can be set."""
  line = ["", *config, *setting]
  values = flags.FlagValues()
  config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=line)
  try:
    values(line)
  except (flags.Error, *WRONG) as error:
    return message_of(error, line)
  return None


def _wrong_setting(error: Exception, arguments: Sequence[str]) -> str:
  """Return the message about a --config.SECTION.NAME as one line.

  If the key is unknown or the type is wrong, ml-collections raises from deep
  inside the config. Its message names only the last part of the key and
  suggests the nearest one.
  """
  text = str(error.args[0] if error.args else error)
  message = " ".join(text.replace("\\n", " ").split()).replace("\\'", "'")
  message = message.strip("'\"")
  if not isinstance(error, AttributeError | KeyError):
    return f"wrong setting: {message}"
  name = message.partition("'")[0]
  keys = [argument.partition("=")[0] for argument in arguments]
  keys = [key for key in keys if name in key.split(".")[1:]]
  if not keys:
    return f"unknown setting: {message}"
  section = keys[0].split(".")[1]
  names = _setting_names(arguments)
  if not any(n.startswith(f"{section}.") for n in names) and any(
    re.search(rf":{re.escape(section)}\b", text) for text in arguments
  ):
    return (
      f"unknown setting {keys[0]}: a function of your own, {section}, takes "
      f"its arguments from a section {section!r}, which the config does not "
      f"have; a config file of your own adds it: config.{section} = "
      f"ConfigDict({{...}})"
    )
  near = config_files.nearest_settings(keys[0].partition(".")[2], names)
  hint = f"; did you mean {' or '.join(near)}?" if near else ""
  return f"unknown setting {keys[0]}{hint}"


def _setting_names(arguments: Sequence[str]) -> list[str]:
  """Return the flat names of the settings of the --config on a command line."""
  for place, argument in enumerate(arguments):
    flag, equals, value = argument.partition("=")
    if flag.lstrip("-") == "config":
      value = value if equals else "".join(arguments[place + 1 : place + 2])
      return [name for name, _ in config_files.flat(config_files.load(value))]
  return []
