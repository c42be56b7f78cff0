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
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import functools
import os
from pathlib import Path
import re
import sys
from types import ModuleType
import warnings

from absl import app, flags, logging

from entrojax.system import config_files
from entrojax.system.failure import failure
from entrojax.system.flag_errors import (
  EXIT_WRONG,
  WRONG,
  fail,
  unknown_flag,
  wrong_settings,
)
from entrojax.system.help_page import Page, join
from entrojax.system.terminal import harmless

EXIT_INTERRUPTED = 130

_FORMAT_WARNING = warnings.formatwarning  # Python's own

_CONFIG = re.compile(r"--?config(?:=(.*))?", re.DOTALL)
_HELP = {"--help", "-help", "-h", "--helpshort", "-helpshort", "-?"}
_FULL_HELP = {"--helpfull", "-helpfull"}

# The start function of a command. It reads sys.argv if it gets no arguments.
Main = Callable[..., None]


def command(
  flag_values: flags.FlagValues,
  *,
  required: Sequence[str] = (),
  arguments: Mapping[str, str] | None = None,
  settings: str | None = None,
  default_config: str = "",
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
    default_config: the --config of a command line without one. It is not the
      flag's own default, which ml-collections would read, with its overrides,
      when the flag is defined, where no mistake can be reported.
    interrupted: the line to print if the user interrupts the command.
  """

  if settings is not None:
    _define_config_flags(flag_values)

  def decorate(act: Callable[..., int | None]) -> Main:
    module = sys.modules[act.__module__]
    page = Page(
      module=_program(module),
      summary=(module.__doc__ or "").strip().partition("\n")[0],
      arguments=arguments or {},
      flag_values=flag_values,
      own=_own_flags(flag_values),
      required=required,
      settings=settings,
      default_config=default_config,
    )

    def run(positional: Sequence[str]) -> int:
      # Without this, tensorflow-datasets asks a cloud's metadata server whether
      # it runs in that cloud, and waits for the answer.
      os.environ.setdefault("NO_GCE_CHECK", "true")
      try:
        return act(*positional) or 0
      except KeyboardInterrupt:
        failure.note(KeyboardInterrupt("interrupted"), EXIT_INTERRUPTED)
        print(interrupted)
        return EXIT_INTERRUPTED
      except (ValueError, OSError, ImportError, RuntimeError) as error:
        failure.note(error, EXIT_WRONG)
        print(
          f"error: {harmless(str(error), keep_lines=True)}", file=sys.stderr
        )
        return EXIT_WRONG

    @functools.wraps(act)
    def main(arguments: Sequence[str] | None = None) -> None:
      if arguments is None:
        logging.set_verbosity(logging.ERROR)
        warnings.formatwarning = format_warning
        app.run(run, flags_parser=lambda argv: _parse_program(page, argv[1:]))
        return
      _forget(flag_values)
      with _as_program(page, arguments):
        positional = _parse(page, arguments)
      if status := run(positional):
        sys.exit(status)

    return main

  return decorate


def format_warning(
  message: Warning | str,
  category: type[Warning],
  filename: str,
  lineno: int,
  line: str | None = None,
) -> str:
  """Format a warning as `warnings` does; a UserWarning without its place."""
  if category is UserWarning:
    return f"warning: {harmless(str(message), keep_lines=True)}\n"
  return _FORMAT_WARNING(message, category, filename, lineno, line)


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
def _as_program(page: Page, arguments: Sequence[str]) -> Iterator[None]:
  """Let sys.argv be a command line: ml-collections reads overrides there."""
  program, sys.argv = sys.argv, [page.module, *arguments]
  try:
    yield
  finally:
    sys.argv = program


def _program(module: ModuleType) -> str:
  """Return the NAME with which `python -m NAME` runs a module.

  Its __name__ there is "__main__".
  """
  name = module.__spec__.name if module.__spec__ else module.__name__
  return name.removesuffix(".__main__")


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


def _parse_program(page: Page, arguments: Sequence[str]) -> list[str]:
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


def _with_config(page: Page, arguments: Sequence[str]) -> list[str]:
  """Add the command's own --config to a command line without one."""
  has_config = any(_CONFIG.fullmatch(argument) for argument in arguments)
  default = page.default_config
  added = [f"--config={default}"] if default and not has_config else []
  return [*added, *arguments]


def _parse(page: Page, arguments: Sequence[str]) -> list[str]:
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
  arguments = _with_config(page, arguments)
  sys.argv[1:] = arguments  # ml-collections reads overrides there
  _check_config_file(page, arguments)
  flag_values = page.flag_values
  flag_values.set_gnu_getopt(True)  # flags may stand after arguments
  try:
    positional = flag_values([page.module, *arguments])[1:]
  except flags.UnrecognizedFlagError as error:
    fail(unknown_flag(page, error.flagname))
  except (flags.Error, *WRONG) as error:
    fail(wrong_settings(error, arguments))
  if page.settings:
    _print_configs(page, page.settings)
  if missing := _missing(page):
    fail(missing)
  return _check_arguments(page, positional)


def _print_configs(page: Page, settings: str) -> None:
  """Do what --list_configs and --show_settings ask for, and exit."""
  values = page.flag_values
  if values["list_configs"].value:
    try:
      print(config_files.list_configs(Path(settings).parent))
    except ValueError as error:
      fail(str(error))
    sys.exit(0)
  if values["show_settings"].value:
    if values["config"].value is None:
      fail("--show_settings needs a --config")
    is_here = Path(settings).is_file()
    defaults = config_files.flat(config_files.load(settings)) if is_here else ()
    print(config_files.format_settings(values["config"].value, dict(defaults)))
    sys.exit(0)


def _check_config_file(page: Page, arguments: Sequence[str]) -> None:
  """Fail if --config names no Python file."""
  for place, argument in enumerate(arguments):
    match = _CONFIG.fullmatch(argument)
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
      fail(f"--config={value}: there is no such file{hint}")
    if path.suffix != ".py":
      fail(f"--config={value}: a config is a Python file such as config.py")


def _missing(page: Page) -> str:
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
  return f"{join(f'--{name}' for name in missing)} are required; see --help"


def _check_arguments(page: Page, positional: list[str]) -> list[str]:
  """Fail if there are too few positional arguments, or too many."""
  names = list(page.arguments)
  if len(positional) < len(names):
    name = names[len(positional)]
    fail(f"{name} is required: {page.arguments[name]}")
  open_ended = bool(names) and names[-1].endswith("...")
  if len(positional) > len(names) and not open_ended:
    fail(f"unexpected argument {positional[len(names)]!r}; see --help")
  return positional
