"""Parse flags, print --help and report errors in the same way in all commands.

A command defines its flags in its own FlagValues and decorates its main
function with `command`. Each command then

- prints the same form of page for --help: the first line of its module's
  docstring, the usage, its own flags with their defaults, and, if it takes a
  --config, where the settings are described;
- lists the required arguments and flags if it is started without any;
- with a --config, also has --list_configs and --show_settings, which print and
  exit;
- reports a mistake on the command line, and a ValueError, OSError, ImportError
  or RuntimeError of the command, as one message without a traceback and with
  control characters escaped, and exits with status 2;
- prints a line and exits with status 130 on a KeyboardInterrupt.

`define_process_flags` and `join_processes` are for the commands that can run in
several processes.
"""

from collections.abc import (
  Callable,
  Collection,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)
import contextlib
import difflib
import functools
import os
from pathlib import Path
import re
import sys
import textwrap
from typing import NamedTuple, NoReturn

from absl import app, flags, logging

from entrojax.system import config_files

EXIT_INTERRUPTED = 130
EXIT_WRONG = 2

_WIDTH = 80  # columns of a terminal
_HELP = {"--help", "-help", "-h", "--helpshort", "-helpshort", "-?"}
_FULL_HELP = {"--helpfull", "-helpfull"}

# The start function of a command. It reads sys.argv if it gets no arguments.
Main = Callable[..., None]


class _Page(NamedTuple):
  """What --help prints about a command."""

  module: str  # as in `python -m MODULE`
  summary: str  # one line
  arguments: Mapping[str, str]  # positional ones: name -> help
  flag_values: flags.FlagValues
  own: Sequence[str]  # names of the command's flags, without a library's
  required: Collection[str]  # names of flags
  settings: str | None  # the file that describes the settings of --config

  @property
  def call(self) -> str:
    """The command line with all required arguments and flags."""
    needs = [f"--{name}={name.upper()}" for name in self.required]
    return " ".join(["python -m", self.module, *self.arguments, *needs])

  def needs(self) -> str:
    """Return the two lines to print for a command without arguments."""
    names = [*self.arguments, *(f"--{name}" for name in self.required)]
    return (
      f"{self.module} needs {_join(names)}.\nSee python -m {self.module} --help"
    )

  def help(self) -> str:
    """Return the page that --help prints."""
    parts = [
      self.summary,
      textwrap.fill(
        f"usage: {self.call} [FLAGS]",
        _WIDTH,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
      ),
    ]
    if self.arguments:
      parts.append("arguments:\n" + _columns(self.arguments))
    parts.append("flags:\n" + _columns(dict(map(self._describe, self.own))))
    if self.settings:
      parts.append(
        f"The settings of --config are described in {self.settings}.\n"
        "Set one with --config.SECTION.NAME=VALUE, after --config."
      )
    parts.append("--helpfull also lists the flags of the libraries.")
    return "\n\n".join(parts)

  def _describe(self, name: str) -> tuple[str, str]:
    """Return a flag as the user writes it, and its help with the default."""
    flag = self.flag_values[name]
    text = " ".join(flag.help.split())
    default = (flag.default_as_str or "").strip("'")
    if name in self.required:
      text += " (required)"
    elif default not in ("", "None", "[]"):
      text += f" (default: {default})"
    return f"--[no]{name}" if flag.boolean else f"--{name}", text


def command(
  flag_values: flags.FlagValues,
  *,
  required: Sequence[str] = (),
  arguments: Mapping[str, str] | None = None,
  settings: str | None = None,
  interrupted: str = "Interrupted.",
) -> Callable[[Callable[..., int | None]], Main]:
  """Decorate a function to be the `main` of a command.

  The decorated function takes the positional arguments and returns the exit
  status, None for 0. A ValueError, OSError, ImportError or RuntimeError that it
  raises becomes one line on stderr.

  The result is main(arguments=None). Without arguments it runs the program's
  own command line and exits. With a list of arguments, for tests, it returns
  if the command succeeds, and raises SystemExit otherwise.

  Args:
    flag_values: the command's flags.
    required: names of the flags that must be set.
    arguments: help of each positional argument by name, in order. All are
      required; a last name that ends with "..." stands for one or more.
    settings: the file that describes the settings of --config; None if the
      command has no --config.
    interrupted: the line to print if the user interrupts the command.
  """

  if settings is not None:
    _define_config_flags(flag_values)

  def decorate(act: Callable[..., int | None]) -> Main:
    module = sys.modules[act.__module__]
    page = _Page(
      # in the program `python -m NAME`, act.__module__ is "__main__"
      module=module.__spec__.name if module.__spec__ else act.__module__,
      summary=(module.__doc__ or "").strip().partition("\n")[0],
      arguments=arguments or {},
      flag_values=flag_values,
      own=_own_flags(flag_values),
      required=required,
      settings=settings,
    )

    def run(positional: Sequence[str]) -> int:
      # Without this, tensorflow-datasets asks a cloud's metadata server whether
      # it runs in that cloud, and waits for the answer.
      os.environ.setdefault("NO_GCE_CHECK", "true")
      try:
        return act(*positional) or 0
      except KeyboardInterrupt:
        print(interrupted)
        return EXIT_INTERRUPTED
      except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"error: {harmless(str(error))}", file=sys.stderr)
        return EXIT_WRONG

    @functools.wraps(act)
    def main(arguments: Sequence[str] | None = None) -> None:
      if arguments is None:
        logging.set_verbosity(logging.ERROR)
        app.run(run, flags_parser=lambda argv: _parse_program(page, argv[1:]))
        return
      _forget(flag_values)
      with _as_program(page, arguments):
        positional = _parse(page, arguments)
      if status := run(positional):
        sys.exit(status)

    return main

  return decorate


def _define_config_flags(flag_values: flags.FlagValues) -> None:
  """Define the flags of a command with a --config that print and exit."""
  flags.DEFINE_bool(
    "list_configs",
    False,
    "list the configs and exit",
    flag_values=flag_values,
  )
  flags.DEFINE_bool(
    "show_settings",
    False,
    "print all settings of --config and exit",
    flag_values=flag_values,
  )


def _forget(flag_values: flags.FlagValues) -> None:
  """Forget the values of an earlier call, and the settings that it named.

  ml-collections defines a flag for each --config.SECTION.NAME that it meets.
  """
  flag_values.unparse_flags()
  for name in [name for name in flag_values if name.startswith("config.")]:
    delattr(flag_values, name)


@contextlib.contextmanager
def _as_program(page: _Page, arguments: Sequence[str]) -> Iterator[None]:
  """Let sys.argv be a command line: ml-collections reads overrides there."""
  program, sys.argv = sys.argv, [page.module, *arguments]
  try:
    yield
  finally:
    sys.argv = program


def _own_flags(flag_values: flags.FlagValues) -> list[str]:
  """Return the names of a command's flags, in the order of definition."""
  if flag_values is not flags.FLAGS:
    return list(flag_values)
  # these also hold the flags of the libraries
  program = sys.argv[0]
  return [
    name
    for name in flag_values
    if flag_values.find_module_defining_flag(name) == program
  ]


def _parse_program(page: _Page, arguments: Sequence[str]) -> list[str]:
  """Parse the program's command line, which may set flags of libraries too."""
  if _FULL_HELP & set(arguments):
    print(f"{page.help()}\n\nflags of the libraries:\n{flags.FLAGS.get_help()}")
    sys.exit(0)
  for name in flags.FLAGS:
    flag = flags.FLAGS[name]
    if name == flag.name and name not in page.flag_values:
      page.flag_values[name] = flag
  flags.FLAGS.mark_as_parsed()
  return _parse(page, arguments)


def _parse(page: _Page, arguments: Sequence[str]) -> list[str]:
  """Parse a command line into the command's flags.

  Args:
    page: the command.
    arguments: the command line after the program's name.

  Returns:
    The positional arguments.

  Raises:
    SystemExit: with status 0 after --help, with status 2 after a mistake.
  """
  if _HELP & set(arguments):
    print(page.help())
    sys.exit(0)
  if not arguments and (page.arguments or page.required):
    print(page.needs(), file=sys.stderr)
    sys.exit(EXIT_WRONG)
  _check_config_file(page, arguments)
  flag_values = page.flag_values
  flag_values.set_gnu_getopt(True)  # flags may stand after arguments
  try:
    positional = flag_values([page.module, *arguments])[1:]
  except flags.UnrecognizedFlagError as error:
    _fail(_unknown_flag(page, error.flagname))
  except flags.Error as error:
    _fail(_wrong_flag(str(error)))
  except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    _fail(_wrong_setting(error, arguments))
  if page.settings:
    _print_configs(page, page.settings)
  if missing := _missing(page):
    _fail(missing)
  return _check_arguments(page, positional)


def _print_configs(page: _Page, settings: str) -> None:
  """Do what --list_configs and --show_settings ask for, and exit."""
  values = page.flag_values
  if values["list_configs"].value:
    try:
      print(config_files.list_configs(Path(settings).parent))
    except ValueError as error:
      _fail(str(error))
    sys.exit(0)
  if values["show_settings"].value:
    if values["config"].value is None:
      _fail("--show_settings needs a --config")
    is_here = Path(settings).is_file()
    defaults = config_files.flat(config_files.load(settings)) if is_here else ()
    print(config_files.format_settings(values["config"].value, dict(defaults)))
    sys.exit(0)


def _fail(message: str) -> NoReturn:
  """Print one line on stderr and exit with status 2."""
  print(f"error: {harmless(message)}", file=sys.stderr)
  sys.exit(EXIT_WRONG)


def harmless(text: str) -> str:
  """Escape control characters, so that a terminal shows and never obeys them.

  Lines stay lines.
  """
  return "".join(
    char
    if char.isprintable() or char == "\n"
    else char.encode("unicode_escape").decode()
    for char in text
  )


def _check_config_file(page: _Page, arguments: Sequence[str]) -> None:
  """Fail if --config names no Python file."""
  for place, argument in enumerate(arguments):
    match = re.fullmatch(r"--?config(?:=(.*))?", argument, re.DOTALL)
    if not match:
      continue
    value = match[1]
    if value is None:  # --config FILE
      value = "".join(arguments[place + 1 : place + 2])
    path = Path(value.partition(":")[0])  # FILE.py:PRESET
    if not path.is_file():
      folder = Path(page.settings or "").parent
      near = config_files.nearest_file(path, folder)
      hint = f"; did you mean {near}?" if near else ""
      _fail(f"--config={value}: there is no such file{hint}")
    if path.suffix != ".py":
      _fail(f"--config={value}: a config is a Python file such as config.py")


def _unknown_flag(page: _Page, name: str) -> str:
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
  near = config_files.nearest_settings(
    keys[0].partition(".")[2], _setting_names(arguments)
  )
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


def _missing(page: _Page) -> str:
  """Return the message about required flags that are not set, or ""."""
  missing = [
    name
    for name in page.required
    if (value := page.flag_values[name].value) is None or value == ""
  ]
  if not missing:
    return ""
  if len(missing) == 1:
    help_text = " ".join(page.flag_values[missing[0]].help.split())
    return f"--{missing[0]} is required: {help_text}"
  return f"{_join(f'--{name}' for name in missing)} are required; see --help"


def _check_arguments(page: _Page, positional: list[str]) -> list[str]:
  """Fail if there are too few positional arguments, or too many."""
  names = list(page.arguments)
  if len(positional) < len(names):
    name = names[len(positional)]
    _fail(f"{name} is required: {page.arguments[name]}")
  open_ended = bool(names) and names[-1].endswith("...")
  if len(positional) > len(names) and not open_ended:
    _fail(f"unexpected argument {positional[len(names)]!r}; see --help")
  return positional


def _columns(texts: Mapping[str, str]) -> str:
  """Format names and their texts as two columns."""
  indent = max(map(len, texts)) + 4
  lines = [
    textwrap.fill(
      text,
      _WIDTH,
      initial_indent=f"  {name}".ljust(indent),
      subsequent_indent=" " * indent,
      break_long_words=False,
      break_on_hyphens=False,
    )
    for name, text in texts.items()
  ]
  return "\n".join(lines)


def _join(names: Iterable[str]) -> str:
  """Return "a", "a and b", or "a, b and c"."""
  *first, last = names
  return f"{', '.join(first)} and {last}" if first else last


def define_process_flags(flag_values: flags.FlagValues) -> None:
  """Define the flags of a command that may run as several processes."""
  flags.DEFINE_bool(
    "distributed",
    False,
    "join the other processes of a TPU pod, Slurm or GKE job",
    flag_values=flag_values,
  )
  flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0, outside such a job",
    flag_values=flag_values,
  )
  flags.DEFINE_integer(
    "num_processes",
    None,
    "the number of processes, with --coordinator",
    flag_values=flag_values,
  )
  flags.DEFINE_integer(
    "process_id",
    None,
    "the number of this process, from 0, with --coordinator",
    flag_values=flag_values,
  )


def join_processes(flag_values: flags.FlagValues) -> None:
  """Join the other processes if the command line sets the flags for that.

  Args:
    flag_values: parsed, with the flags of `define_process_flags`.

  Raises:
    ValueError: a flag is missing or wrong, or the environment does not name the
      other processes.
    RuntimeError: the other processes cannot be reached.
  """
  names = ("coordinator", "num_processes", "process_id")
  missing = [name for name in names if getattr(flag_values, name) is None]
  if len(missing) == len(names) and not flag_values.distributed:
    return
  # Importing hosts imports jax. Here the flags are parsed already, so a wrong
  # flag is reported without that delay.
  from entrojax.system import hosts

  if len(missing) == len(names):
    try:
      hosts.initialize()
    except ValueError as error:
      raise ValueError(
        "--distributed: this is no TPU pod, Slurm or GKE job, which would say "
        "where the other processes are; pass --coordinator=HOST:PORT "
        f"--num_processes=N --process_id=I instead ({error})"
      ) from error
    return
  if missing:
    raise ValueError(
      "--coordinator, --num_processes and --process_id go together: "
      f"--{missing[0]} is missing"
    )
  coordinator, num_processes, process_id = (
    getattr(flag_values, name) for name in names
  )
  if not 0 <= process_id < num_processes:
    raise ValueError(
      f"--process_id={process_id} must lie in [0, --num_processes = "
      f"{num_processes})"
    )
  if ":" not in coordinator:
    raise ValueError(
      f"--coordinator={coordinator!r} is not of the form HOST:PORT"
    )
  print(
    f"process {process_id} of {num_processes} waits for the others at "
    f"{coordinator}",
    flush=True,
  )
  hosts.initialize(coordinator, num_processes, process_id)
