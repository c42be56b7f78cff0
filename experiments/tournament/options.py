"""The flags that the tournament's commands share, imported in no time."""

from pathlib import Path

from absl import flags

from experiments.tournament.rule import BASES

RESULTS = Path(__file__).parent / "results"  # of the runs that are kept


def define_base(own: flags.FlagValues) -> flags.FlagHolder[str]:
  """Define --base in the flags of a command."""
  return flags.DEFINE_enum(
    "base",
    "countdown",
    list(BASES),
    "the base model with its testbed",
    flag_values=own,
  )


def define_workdir(own: flags.FlagValues) -> flags.FlagHolder[str]:
  """Define --workdir in the flags of a command."""
  return flags.DEFINE_string(
    "workdir",
    "runs/tournament",
    "the directory of all runs; created if missing",
    flag_values=own,
  )


def define_results(own: flags.FlagValues) -> flags.FlagHolder[str]:
  """Define --results in the flags of a command."""
  return flags.DEFINE_string(
    "results",
    str(RESULTS),
    "the folder of the kept lines, times and costs",
    flag_values=own,
  )


def define_entries(
  own: flags.FlagValues, default: str
) -> flags.FlagHolder[str]:
  """Define --entries in the flags of a command.

  Args:
    own: the flags of the command.
    default: which entries it takes without the flag.
  """
  return flags.DEFINE_string(
    "entries",
    "",
    f"the names of the entries, separated by semicolons; without it, {default}",
    flag_values=own,
  )


def split_names(text: str) -> list[str]:
  """Return the names of entries that --entries separates by semicolons."""
  return [name for name in text.split(";") if name]
