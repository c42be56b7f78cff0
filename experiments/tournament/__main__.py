r"""Run all methods at an equal budget, and keep a line of each finished run.

    python -m experiments.tournament --workdir=runs/tournament --jobs=2

Runs whose line is kept are skipped, so that the same command again continues,
also on another machine. rule.py has the rule for budgets and numbers.

    --dry_run    list the runs that are missing, with the time they need
    --quick      eight methods with two seeds
    --minutes=N  stop after N minutes; running units save, and resume later

    python -m experiments.tournament.page

writes the page from the kept lines.
"""

from pathlib import Path

from absl import flags

from entrojax.system.command_line import command
from experiments.tournament.options import (
  define_base,
  define_entries,
  define_results,
  define_workdir,
  split_names,
)

FLAGS = flags.FlagValues()
_BASE = define_base(FLAGS)
_WORKDIR = define_workdir(FLAGS)
_RESULTS = define_results(FLAGS)
_QUICK = flags.DEFINE_bool(
  "quick", False, "eight methods with two seeds", flag_values=FLAGS
)
_ENTRIES = define_entries(FLAGS, "all")
_DRY_RUN = flags.DEFINE_bool(
  "dry_run",
  False,
  "list the missing runs with the time they need, and make none",
  flag_values=FLAGS,
)
_MINUTES = flags.DEFINE_float(
  "minutes",
  None,
  "stop after this time; without it, when nothing is missing",
  lower_bound=0.0,
  flag_values=FLAGS,
)
_JOBS = flags.DEFINE_integer(
  "jobs", 1, "make this many runs at once", lower_bound=1, flag_values=FLAGS
)


@command(FLAGS, interrupted="Interrupted. The same command continues.")
def main() -> int:
  """Make the missing runs; return the exit status."""
  # imported here, so that --help does not wait
  from experiments.tournament import runner

  names = split_names(_ENTRIES.value)
  tournament = runner.read_tournament(
    _BASE.value, Path(_WORKDIR.value), Path(_RESULTS.value)
  )
  places, notes = runner.choose(tournament, quick=_QUICK.value, names=names)
  for note in notes:
    print(f"note: {note}")
  if _DRY_RUN.value:
    for line in runner.list_runs(tournament, places, _JOBS.value):
      print(line, flush=True)
    return 0
  print(
    f"{len(tournament.lines)} lines are kept in {tournament.folder}, "
    f"{len(places)} runs to make",
    flush=True,
  )
  if not places:
    return 0
  return runner.report(
    runner.make_runs(
      tournament, places, jobs=_JOBS.value, minutes=_MINUTES.value
    )
  )


if __name__ == "__main__":
  main()
