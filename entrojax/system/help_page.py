"""Format the page of --help, and the hint of a call without arguments."""

from collections.abc import Collection, Iterable, Mapping, Sequence
import textwrap
from typing import NamedTuple

from absl import flags

_WIDTH = 80  # columns of a terminal


class Page(NamedTuple):
  """What --help prints about a command."""

  module: str  # as in `python -m MODULE`
  summary: str  # one line
  arguments: Mapping[str, str]  # positional ones: name -> help
  flag_values: flags.FlagValues
  own: Sequence[str]  # names of the command's flags, without a library's
  required: Collection[str]  # names of flags
  settings: str | None  # the file that describes the settings of --config
  default_config: str  # the --config of a command line without one, or ""

  @property
  def call(self) -> str:
    """The command line with all required arguments and flags."""
    needs = [f"--{name}={name.upper()}" for name in self.required]
    return " ".join(["python -m", self.module, *self.arguments, *needs])

  def needs(self) -> str:
    """Return the two lines to print for a command without arguments."""
    names = [*self.arguments, *(f"--{name}" for name in self.required)]
    return (
      f"{self.module} needs {join(names)}.\nSee python -m {self.module} --help"
    )

  def help(self) -> str:
    """Return the page that --help prints."""
    parts = [
      self.summary,
      textwrap.fill(
        f"usage: {self.call}" + (" [FLAGS]" if self.own else ""),
        _WIDTH,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
      ),
    ]
    if self.arguments:
      parts.append("arguments:\n" + _columns(self.arguments))
    if self.own:
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
    if name == "config":
      default = self.default_config
    if name in self.required:
      text += " (required)"
    elif default not in ("", "None", "[]"):
      text += f" (default: {default})"
    return f"--[no]{name}" if flag.boolean else f"--{name}", text


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


def join(names: Iterable[str]) -> str:
  """Return "a", "a and b", or "a, b and c"."""
  *first, last = names
  return f"{', '.join(first)} and {last}" if first else last
