"""Torture runs and print a scoreboard of what broke.

    python -m experiments.torture [--quick] [--part=kills] [--seed=0]
        [--output=runs/torture.jsonl]

Each part does one kind of harm many times and checks what must hold after it.
The harm is drawn from the seed, so a run can be repeated. --part=NAME runs one
part, --count sets the number of attempts of a part, and --quick makes a few
attempts of the parts that start no processes. With --output every finished part
is kept in that file, and the same command continues with the next part.

The command fails if anything is wrong.
"""

import os
from pathlib import Path
import random
import resource
import tempfile
import time
import warnings

from absl import flags

from entrojax.system.command_line import command
from experiments.torture import (
  corruptions,
  disk,
  fuzz,
  kills,
  locks,
  lost_hosts,
  numbers,
  preemption,
  soak,
)
from experiments.torture.score import Part, PartResult, keep, read_kept, table

FLAGS = flags.FlagValues()
_QUICK = flags.DEFINE_bool(
  "quick",
  False,
  "make few attempts, and start no other process",
  flag_values=FLAGS,
)
_PARTS = flags.DEFINE_list(
  "part", [], "names of the parts to run; none = all", flag_values=FLAGS
)
_COUNT = flags.DEFINE_integer(
  "count", 0, "attempts of each part; 0 = its own number", flag_values=FLAGS
)
_SEED = flags.DEFINE_integer("seed", 0, "seeds the harm", flag_values=FLAGS)
_OUTPUT = flags.DEFINE_string(
  "output",
  "",
  "the file that keeps the results of finished parts; none: they are printed "
  "only",
  flag_values=FLAGS,
)

# name -> (part, attempts, attempts of --quick)
PARTS: dict[str, tuple[Part, int, int]] = {
  "corruptions": (corruptions.torture, 100, 8),
  "numbers": (numbers.torture, 40, 8),
  "disk": (disk.torture, 10, 1),
  "locks": (locks.torture, 20, 2),
  "fuzz": (fuzz.torture, 2000, 12),
  "kills": (kills.torture, 40, 0),
  "preemption": (preemption.torture, 2, 0),
  "soak": (soak.torture, 2000, 0),
  "lost_hosts": (lost_hosts.torture, 2, 0),
}


def run(
  names: list[str],
  *,
  quick: bool,
  count: int,
  seed: int,
  output: Path | None = None,
) -> list[PartResult]:
  """Run parts by name, in order; print the time of each.

  Args:
    names: the parts.
    quick: whether to make few attempts.
    count: attempts of each part; 0: its own number.
    seed: seeds the harm.
    output: keeps the results; parts that it has with this seed and this number
      of attempts are not repeated.

  Raises:
    ValueError: there is no such part, or `output` is no scoreboard.
  """
  kept = {
    (result.part, result.seed, result.attempts): result
    for result in (read_kept(output) if output else [])
  }
  results = []
  for name in names:
    if name not in PARTS:
      raise ValueError(f"there is no part {name!r}, only {', '.join(PARTS)}")
    _, full, few = PARTS[name]
    number = count or (few if quick else full)
    result = kept.get((name, seed, number))
    if not number:
      print(f"{name}: not run")
      continue
    if result is None:
      result = _run_part(name, number, seed)
      if output:
        keep(output, result)
    results.append(result)
    print(
      f"{name}: {number} attempts, {result.seconds:.0f} s, "
      f"{result.cpu_seconds:.0f} CPU s",
      flush=True,
    )
  return results


def _run_part(name: str, count: int, seed: int) -> PartResult:
  """Run a part with `count` attempts."""
  started, cpu = time.monotonic(), _cpu_seconds()
  with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
    warnings.simplefilter("ignore")
    # the draws of a part do not depend on the parts before it
    draw = random.Random(f"{seed} {name}")
    scores = PARTS[name][0](draw, count, Path(folder))
  return PartResult(
    name,
    seed,
    count,
    round(time.monotonic() - started, 1),
    round(_cpu_seconds() - cpu, 1),
    scores,
  )


def _cpu_seconds() -> float:
  """Return the CPU time of this process and of its ended children."""
  usages = [
    resource.getrusage(who)
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  ]
  return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@command(FLAGS)
def main() -> int:
  """Run the parts; return the exit status."""
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  results = run(
    _PARTS.value or list(PARTS),
    quick=_QUICK.value,
    count=_COUNT.value,
    seed=_SEED.value,
    output=Path(_OUTPUT.value) if _OUTPUT.value else None,
  )
  print(table(results))
  wrong = [score for result in results for score in result.scores]
  return int(any(score.failures for score in wrong))


if __name__ == "__main__":
  main()
