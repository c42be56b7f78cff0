"""Torture runs and print a scoreboard of what broke.

    python -m experiments.torture [--quick] [--part=kills] [--seed=0]

Each part does one kind of harm many times and checks what must hold after it.
The harm is drawn from the seed, so a run can be repeated. --part=NAME runs one
part, --count sets the number of attempts of a part, and --quick makes a few
attempts of the parts that start no processes.

The command fails if anything is wrong.
"""

import os
from pathlib import Path
import random
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
)
from experiments.torture.score import Part, Score, table

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

# name -> (part, attempts, attempts of --quick)
PARTS: dict[str, tuple[Part, int, int]] = {
  "corruptions": (corruptions.torture, 100, 8),
  "numbers": (numbers.torture, 40, 8),
  "disk": (disk.torture, 10, 1),
  "locks": (locks.torture, 20, 2),
  "fuzz": (fuzz.torture, 2000, 12),
  "kills": (kills.torture, 40, 0),
  "lost_hosts": (lost_hosts.torture, 1, 0),
}


def run(names: list[str], *, quick: bool, count: int, seed: int) -> list[Score]:
  """Run parts by name, in order; print the time of each.

  Raises:
    ValueError: there is no such part.
  """
  scores = []
  for name in names:
    if name not in PARTS:
      raise ValueError(f"there is no part {name!r}, only {', '.join(PARTS)}")
    part, full, few = PARTS[name]
    number = count or (few if quick else full)
    if not number:
      print(f"{name}: not run")
      continue
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
      warnings.simplefilter("ignore")
      # the draws of a part do not depend on the parts before it
      draw = random.Random(f"{seed} {name}")
      scores += part(draw, number, Path(folder))
    print(f"{name}: {number} attempts, {time.monotonic() - started:.0f} s")
  return scores


@command(FLAGS)
def main() -> int:
  """Run the parts; return the exit status."""
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  scores = run(
    _PARTS.value or list(PARTS),
    quick=_QUICK.value,
    count=_COUNT.value,
    seed=_SEED.value,
  )
  print(table(scores))
  return int(any(score.failures for score in scores))


if __name__ == "__main__":
  main()
