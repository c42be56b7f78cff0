r"""Run a sweep: many runs of one config, each with its own settings.

    python -m entrojax.sweep --config=configs/sweeps/methods.py \
        --workdir=runs/methods --jobs=2

The config file has a function get_hyper beside get_config, which lists the
units of the sweep; sweeps/hyper.py describes it. Every unit is a run of
entrojax.main in a directory of its own, named by what varies. All units are
checked before the first one runs. The same command again skips what is finished
and resumes what was interrupted. If a unit fails, or an alarm of its own stops
it, the others still run, and the command exits with status 1.

Several commands may share a work directory: each unit runs once. On a cluster,
--unit or --shard chooses a part of the units for each job.
"""

from collections.abc import Mapping, Sequence
import contextlib
from pathlib import Path
import shlex
import sys
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import config_flags

from entrojax.system.command_line import EXIT_INTERRUPTED, command

if TYPE_CHECKING:
  from entrojax.sweeps.plan import Sweep
  from entrojax.sweeps.unit_runs import Outcome

EXIT_FAILED = 1

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "a config file with get_hyper, such as configs/sweeps/quick.py",
  flag_values=FLAGS,
)
_WORKDIR = flags.DEFINE_string(
  "workdir",
  "",
  "the directory of all units; created if missing",
  flag_values=FLAGS,
)
_JOBS = flags.DEFINE_integer(
  "jobs",
  1,
  "run this many units at once, each on its share of the processor's cores",
  flag_values=FLAGS,
)
_UNIT = flags.DEFINE_integer(
  "unit", None, "run only this unit; units count from 0", flag_values=FLAGS
)
_SHARD = flags.DEFINE_string(
  "shard",
  None,
  "I/N runs only part I of N equal parts of the units; parts count from 0",
  flag_values=FLAGS,
)
_DRY_RUN = flags.DEFINE_bool(
  "dry_run",
  False,
  "list the units with their state and estimated time, and run none",
  flag_values=FLAGS,
)
_COMMANDS = flags.DEFINE_bool(
  "commands",
  False,
  "print a command for each unit, and run none",
  flag_values=FLAGS,
)


@command(
  FLAGS,
  required=("config", "workdir"),
  settings="configs/default.py",
  interrupted="Interrupted. Run the same command again to resume.",
)
def main() -> int:
  """Run the sweep; return the exit status."""
  if _JOBS.value < 1:
    raise ValueError(f"--jobs must be at least 1, got {_JOBS.value}")
  if _DRY_RUN.value and _COMMANDS.value:
    raise ValueError("--dry_run and --commands exclude each other")
  # imported here, so that --help and a wrong flag do not wait for it
  from entrojax.sweeps.plan import choose, read_sweep

  sweep = read_sweep(
    config_flags.get_config_filename(FLAGS["config"]),
    _CONFIG.value,
    config_flags.get_override_values(FLAGS["config"]),
    Path(_WORKDIR.value),
  )
  chosen = choose(len(sweep.units), unit=_UNIT.value, shard=_SHARD.value)
  if _COMMANDS.value:
    for number in chosen:
      print(shlex.join(sweep.command(number)))
    return 0
  return _list(sweep, chosen) if _DRY_RUN.value else _run(sweep, chosen)


def _list(sweep: "Sweep", chosen: Sequence[int]) -> int:
  """Check the units, and print them with their states and times."""
  from entrojax.reporting.progress import duration
  from entrojax.sweeps.estimate import NUM_STEPS, time_units
  from entrojax.sweeps.plan import check_units, raise_refusals
  from entrojax.sweeps.workers import share_cores, use_cores

  states = {number: sweep.state(number) for number in chosen}
  left = [number for number in chosen if not states[number].finished]
  jobs = max(1, min(_JOBS.value, len(left)))
  if jobs > 1:
    use_cores(share_cores(0, jobs))  # the share of one unit
  checked = check_units([sweep.check(number) for number in left])
  _print_warnings(checked.warnings)
  raise_refusals(sweep, left, checked.refusals)
  needed = time_units([(sweep.units[n].config, states[n].steps) for n in left])
  times = dict(zip(left, needed, strict=True))
  width = max(map(len, ("directory", *(sweep.names[n] for n in chosen))))
  print(f"unit  {'directory':<{width}}  {'time':>8}  state")
  for number in chosen:
    seconds = times.get(number)
    time = "" if seconds is None else duration(seconds)
    print(
      f"{number:>4}  {sweep.names[number]:<{width}}  {time:>8}  "
      f"{states[number].text}"
    )
  total = sum(seconds for seconds in needed if seconds is not None)
  print(
    f"{len(left)} of {len(chosen)} units to run, in about "
    f"{duration(total / jobs)} with --jobs={jobs}, by {NUM_STEPS} timed "
    "rollout steps and a part of an evaluation"
  )
  return 0


def _run(sweep: "Sweep", chosen: Sequence[int]) -> int:
  """Check the units, and run those that are not finished."""
  from entrojax.reporting.sweep_progress import SweepProgress
  from entrojax.sweeps.plan import (
    check_shareable,
    check_units,
    keep,
    raise_refusals,
  )
  from entrojax.sweeps.unit_runs import Outcome, last_row, run_unit
  from entrojax.sweeps.workers import Workers, run_here
  from entrojax.system.interrupt import report_to

  left = [number for number in chosen if not sweep.state(number).finished]
  finished = len(chosen) - len(left)
  print(
    f"{len(chosen)} units in {sweep.workdir}: {finished} finished, "
    f"{len(left)} to run",
    flush=True,
  )
  outcomes: dict[int, Outcome] = {}
  with contextlib.ExitStack() as stack:
    jobs = min(_JOBS.value, len(left))
    workers = stack.enter_context(Workers(jobs)) if jobs > 1 else None
    checks = [sweep.check(number) for number in left]
    if workers:
      workers.call(check_shareable, jobs)
      checked = workers.call(check_units, checks)
    else:
      checked = check_units(checks)
    _print_warnings(checked.warnings)
    raise_refusals(sweep, left, checked.refusals)
    sweep = keep(sweep)
    tasks = [sweep.task(number) for number in left]
    progress = stack.enter_context(
      SweepProgress(
        [sweep.names[number] for number in left],
        num_steps=[task.config.num_rollout_steps for task in tasks],
        latest=lambda place: last_row(tasks[place].folder),
        jobs=jobs,
      )
    )
    stack.enter_context(report_to(progress.note))

    def ended(place: int, outcome: Outcome) -> None:
      outcomes[left[place]] = outcome
      progress.ended(place, outcome.end, outcome.reason)

    run = workers.run if workers else run_here
    complete = run(tasks, run_unit, progress.started, ended)
  if not complete:
    print("Interrupted. Run the same command again to resume.")
    return EXIT_INTERRUPTED
  return _summarize(sweep, outcomes, finished)


def _print_warnings(texts: Sequence[str]) -> None:
  """Print what is doubtful about the units, once each."""
  for text in texts:
    print(f"warning: {text}", file=sys.stderr)


def _summarize(
  sweep: "Sweep", outcomes: "Mapping[int, Outcome]", finished: int
) -> int:
  """Print how the units ended, and why some did not finish.

  Args:
    sweep: the sweep.
    outcomes: number of a unit -> how it ended.
    finished: the number of units that were finished before.

  Returns:
    The exit status: EXIT_FAILED if a unit is incomplete.
  """
  from entrojax.sweeps.unit_runs import ELSEWHERE, FINISHED, OUTPUT_FILE

  ends = [outcome.end for outcome in outcomes.values()]
  parts = [f"{finished + ends.count(FINISHED)} finished"]
  if others := ends.count(ELSEWHERE):
    parts.append(f"{others} held by another process")
  incomplete = {n: o for n, o in outcomes.items() if o.is_incomplete}
  ends_of_these = [outcome.end for outcome in incomplete.values()]
  parts += [
    f"{ends_of_these.count(end)} {end}" for end in dict.fromkeys(ends_of_these)
  ]
  print(f"{sweep.workdir}: {', '.join(parts)}{':' if incomplete else ''}")
  for number, outcome in incomplete.items():
    output = sweep.folder(number) / OUTPUT_FILE
    hint = f" (see {output})" if output.exists() else ""
    reason = outcome.reason or outcome.end
    print(f"  unit {number}, {sweep.names[number]}: {reason}{hint}")
  return EXIT_FAILED if incomplete else 0


if __name__ == "__main__":
  main()
