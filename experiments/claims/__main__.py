r"""Print the verdict on each claim of the literature, and write the page.

    python -m experiments.claims

computes the verdicts from the kept lines of the tournament, and trains nothing.

    python -m experiments.claims --run=psr_collapses \
        --workdir=runs/tournament

makes the missing runs of one claim first, as the tournament makes them.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from entrojax.system.command_line import command
from experiments.tournament.options import define_results, define_workdir

FLAGS = flags.FlagValues()
_RUN = flags.DEFINE_string(
  "run", "", "make the missing runs of this claim first", flag_values=FLAGS
)
_WORKDIR = define_workdir(FLAGS)
_JOBS = flags.DEFINE_integer(
  "jobs", 1, "make this many runs at once", lower_bound=1, flag_values=FLAGS
)
_RESULTS = define_results(FLAGS)
_OUTPUT = flags.DEFINE_string(
  "output",
  str(Path(__file__).parent),
  "the folder of README.md and its figure",
  flag_values=FLAGS,
)


@command(FLAGS)
def main() -> int:
  """Print the table, and write the page; return the exit status."""
  # imported here, so that --help does not wait
  from experiments.claims.all_claims import CLAIMS, find
  from experiments.claims.page import FIGURE, page, print_table
  from experiments.tournament.lines import read_lines
  from experiments.tournament.plan import lines_file

  results = Path(_RESULTS.value)
  if _RUN.value:
    claim = find(_RUN.value)
    if claim.command:
      raise ValueError(f"{claim.name} is repeated by: {claim.command}")
    if status := _make_runs(claim.effect.entries, results):
      return status
  lines, reasoning = (
    read_lines(lines_file(base, results)) for base in ("countdown", "reasoning")
  )
  for line in print_table(CLAIMS, lines, reasoning):
    print(line)
  output = Path(_OUTPUT.value)
  text, figure = page(CLAIMS, lines, reasoning)
  (output / "README.md").write_text(text, encoding="utf-8")
  if figure is not None:
    (output / FIGURE).write_text(figure, encoding="utf-8")
  return 0


def _make_runs(names: Sequence[str], results: Path) -> int:
  """Make the missing runs of entries; return the exit status."""
  from experiments.tournament import runner

  tournament = runner.read_tournament(
    "countdown", Path(_WORKDIR.value), results
  )
  places, notes = runner.choose(tournament, names=names)
  for note in notes:
    print(f"note: {note}")
  if not places:
    return 0
  return runner.report(
    runner.make_runs(tournament, places, jobs=_JOBS.value, minutes=None)
  )


if __name__ == "__main__":
  main()
