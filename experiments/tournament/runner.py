"""Make the runs that are missing, and keep a line of each finished one.

The runs are units of the sweep in countdown.py or reasoning.py, and the sweep's
own code runs them: in a work directory, from where they stand. A line is kept
as soon as its run has finished. So a later call skips it, even on a machine
without the work directory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import os
from pathlib import Path
import signal
import threading
from typing import NamedTuple

from ml_collections import ConfigDict as Config

from entrojax.reporting.progress import duration
from entrojax.reporting.run_logs import read_run
from entrojax.reporting.sweep_progress import SweepProgress
from entrojax.sweeps.estimate import estimate, time_run
from entrojax.sweeps.plan import (
  Sweep,
  check_shareable,
  check_units,
  keep,
  read_sweep,
)
from entrojax.sweeps.unit_runs import (
  FINISHED,
  INTERRUPTED,
  Outcome,
  last_row,
  run_unit,
)
from entrojax.sweeps.workers import Workers, run_here, share_cores, use_cores
from entrojax.system.command_line import EXIT_INTERRUPTED
from entrojax.system.interrupt import Interruption, report_to
from entrojax.system.outside import load
from experiments.tournament.entries import Run, runs
from experiments.tournament.lines import (
  Line,
  append_line,
  line_of,
  read_lines,
)
from experiments.tournament.plan import (
  check_lines,
  lacking_file,
  lines_file,
  missing,
  read_recorded,
  record_settings,
  settings_beside,
)


class Tournament(NamedTuple):
  """The runs on a base with what is kept of them.

  Attributes:
    base: its name.
    runs: all runs, in order; a run's place is the number of its unit.
    sweep: the units, in a work directory.
    lines: the kept lines by the names of their runs.
    folder: the folder of the kept lines.
  """

  base: str
  runs: Sequence[Run]
  sweep: Sweep
  lines: Mapping[str, Line]
  folder: Path

  def config(self, place: int) -> Config:
    """Return the settings of a run."""
    return self.sweep.units[place].config


def read_tournament(base: str, workdir: Path, folder: Path) -> Tournament:
  """Read the runs on a base and the kept lines; write nothing.

  Args:
    base: a key of rule.BASES.
    workdir: the folder of the run directories; each base has its own part.
    folder: the folder of the kept lines.

  Raises:
    ValueError: a kept line is damaged or was made with other settings.
  """
  file = os.path.relpath(Path(__file__).parent / f"{base}.py")
  config = load(f"{file}:get_config")()
  sweep = read_sweep(file, config, {}, workdir / base)
  own, path = runs(base), lines_file(base, folder)
  lines = read_lines(path)
  configs = {
    run.name: unit.config for run, unit in zip(own, sweep.units, strict=True)
  }
  check_lines(own, configs, lines, read_recorded(base, folder), path)
  return Tournament(base, own, sweep, lines, folder)


def choose(
  tournament: Tournament, *, quick: bool = False, names: Sequence[str] = ()
) -> tuple[list[int], list[str]]:
  """Return the places of the runs to make, and notes about runs that cannot be.

  Args:
    tournament: the runs.
    quick: only the runs of --quick.
    names: only the entries with these names; empty: all.
  """
  places = missing(
    tournament.runs, tournament.lines, tournament.base, quick=quick, names=names
  )
  lacking: dict[str, list[str]] = {}
  ready = []
  for place in places:
    if file := lacking_file(tournament.config(place)):
      lacking.setdefault(file, []).append(tournament.runs[place].entry.name)
    else:
      ready.append(place)
  notes = [
    f"{', '.join(dict.fromkeys(own))} cannot run without {file}: python -m "
    f"entrojax.prompt_entropy --config=configs/sent.py --output={file}"
    for file, own in lacking.items()
  ]
  return ready, notes


def list_runs(
  tournament: Tournament, places: Sequence[int], jobs: int
) -> Iterator[str]:
  """Yield lines about the runs to make, with the time they need.

  GRPO on the base is timed for all of them. An update of `projection` takes
  twice as long, dynamic sampling samples more, and the rest differs little.
  """
  if not places:
    yield "No run is missing."
    return
  if jobs > 1:
    use_cores(share_cores(0, jobs))  # the share of one run
  timing = time_run(tournament.config(0))
  assert timing is not None
  total = 0.0
  for place in places:
    seconds = estimate(timing, tournament.config(place), 0)
    total += seconds
    yield f"{tournament.runs[place].name}: {duration(seconds)}"
  yield (
    f"{len(places)} of {len(tournament.runs)} runs are missing, in about "
    f"{duration(total / jobs)} with --jobs={jobs}. Seeds after the first are "
    "faster, because they share compiled graphs."
  )


def make_runs(
  tournament: Tournament,
  places: Sequence[int],
  *,
  jobs: int,
  minutes: float | None,
) -> tuple[int, list[str], bool]:
  """Make runs, and keep a line of each that finishes.

  Args:
    tournament: the runs.
    places: which of them, in order.
    jobs: the number of runs at once.
    minutes: stop after this time, as after a signal; None: no limit.

  Returns:
    The number of lines that were kept, why other runs did not finish, and
    whether all runs were tried rather than interrupted.
  """
  base, kept = tournament.base, 0
  failures: list[str] = []
  with contextlib.ExitStack() as stack:
    # a signal between two runs is noticed too
    interruption = stack.enter_context(Interruption())
    stack.enter_context(_stop_after(minutes))
    jobs = min(jobs, len(places))
    workers = stack.enter_context(Workers(jobs)) if jobs > 1 else None
    checks = [tournament.sweep.check(place) for place in places]
    if workers:
      workers.call(check_shareable, jobs)
    checked = (
      workers.call(check_units, checks) if workers else check_units(checks)
    )
    # one method that cannot run must not keep the others from running
    refused = dict(zip(places, checked.refusals, strict=True))
    failures += [
      f"{tournament.runs[place].name}: {text}"
      for place, text in refused.items()
      if text is not None
    ]
    places = [place for place in places if refused[place] is None]
    sweep = keep(tournament.sweep)
    record_settings(base, sweep.source.base, tournament.folder)
    recorded = read_recorded(base, tournament.folder)

    def keep_line(place: int) -> None:
      run, path = tournament.runs[place], lines_file(base, tournament.folder)
      if run.name in read_lines(path):
        return  # another process kept it meanwhile
      log = read_run(run.name, sweep.folder(place))
      own = settings_beside(recorded, tournament.config(place))
      append_line(path, line_of(run, log, own))

    for part in rounds([tournament.runs[place] for place in places]):
      if interruption.received is not None:
        return kept, failures, False
      own_places = [places[i] for i in part]
      outcomes: dict[int, Outcome] = {}
      complete = _run_round(
        sweep, own_places, workers, jobs, outcomes, keep_line
      )
      ends = [outcome.end for outcome in outcomes.values()]
      kept += ends.count(FINISHED)
      failures += [
        f"{tournament.runs[place].name}: {outcome.reason or outcome.end}"
        for place, outcome in outcomes.items()
        if outcome.is_incomplete and (complete or outcome.end != INTERRUPTED)
      ]
      if not complete:
        return kept, failures, False
  return kept, failures, True


def report(made: tuple[int, list[str], bool]) -> int:
  """Print what `make_runs` returned; return the exit status."""
  kept, failures, complete = made
  print(f"{kept} lines kept, {len(failures)} runs did not finish")
  for failure in failures:
    print(f"  {failure}")
  if not complete:
    print("Stopped. The same command continues.")
    return EXIT_INTERRUPTED
  return 1 if failures else 0


def rounds(own: Sequence[Run]) -> list[list[int]]:
  """Split runs into parts with one seed each, in order.

  Several processes may change the order within a part: each prefers a run that
  shares its compiled graphs.
  """
  parts: list[list[int]] = []
  key: object = None
  for place, run in enumerate(own):
    own_key = (run.seed, run.entry.role == "strength")
    if own_key != key:
      parts.append([])
      key = own_key
    parts[-1].append(place)
  return parts


def _run_round(
  sweep: Sweep,
  places: Sequence[int],
  workers: Workers | None,
  jobs: int,
  outcomes: dict[int, Outcome],
  keep_line: Callable[[int], None],
) -> bool:
  """Run units of a sweep; return False if they were interrupted.

  Args:
    sweep: the sweep.
    places: the numbers of the units.
    workers: the processes; None: run in this process.
    jobs: the number of processes.
    outcomes: filled with the outcome of each unit by its number.
    keep_line: called for each unit that finished.
  """
  tasks = [sweep.task(place) for place in places]
  progress = SweepProgress(
    [sweep.names[place] for place in places],
    num_steps=[task.config.num_rollout_steps for task in tasks],
    latest=lambda i: last_row(tasks[i].folder),
    jobs=jobs,
  )

  def ended(i: int, outcome: Outcome) -> None:
    outcomes[places[i]] = outcome
    if outcome.end == FINISHED:
      keep_line(places[i])
    progress.ended(i, outcome.end, outcome.reason)

  with progress, report_to(progress.note):
    run = workers.run if workers else run_here
    return run(tasks, run_unit, progress.started, ended)


@contextlib.contextmanager
def _stop_after(minutes: float | None) -> Iterator[None]:
  """Send this process a SIGTERM after some minutes; None: never."""
  if minutes is None:
    yield
    return
  timer = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGTERM))
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()
