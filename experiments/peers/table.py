"""Runs the contestants in turn and prints how many times slower a peer is.

Each contestant is a process that is up all the time and computes only when it
is its turn, one step: us, a peer, the other peer, us, ... A ratio is the median
over turns of a peer's time by ours. We run on a fake device a core, each with
its share of the rows, and on one device that all cores share; torch and Tunix
run as they do by default, on all cores.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import math
import os
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile

from experiments.peers.workload import WORKLOADS, Step, read_steps

_WARM_UP = 2  # steps that compile
OURS, OURS_ALONE = "ours", "1 device"
MODULES = {
  OURS: "our_step",
  OURS_ALONE: "our_step",
  "TRL": "trl_step",
  "Tunix": "tunix_step",
}
_IMPORTS = {"TRL": "import trl, torch", "Tunix": "import tunix"}


class Contestant:
  """A process that makes a step when it is asked to."""

  def __init__(self, name: str, python: str, workload: str, folder: Path):
    """Starts it.

    Args:
      name: of MODULES.
      python: the interpreter of its environment.
      workload: of WORKLOADS.
      folder: its errors are written here.
    """
    self._name, self._errors = name, folder / f"{name}.txt"
    with self._errors.open("w") as errors:
      self._process = subprocess.Popen(
        [python, "-m", f"experiments.peers.{MODULES[name]}", workload],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, **_environment(name)},
      )
    assert self._process.stdout is not None
    self._steps = read_steps(self._process.stdout)
    self._said()  # it waits for its turn

  def step(self) -> Step:
    """Asks for a step and waits for it."""
    assert self._process.stdin is not None
    print(file=self._process.stdin, flush=True)
    step = self._said()
    assert step is not None
    self._said()  # it waits again
    return step

  def close(self) -> None:
    """Ends the process."""
    self._process.kill()
    self._process.communicate()

  def _said(self) -> Step | None:
    try:
      return next(self._steps)
    except StopIteration:
      last = "\n".join(self._errors.read_text().splitlines()[-5:])
      raise ValueError(f"{self._name} has ended:\n{last}") from None


def _environment(name: str) -> dict[str, str]:
  """Returns what a contestant's process has beside ours."""
  if name != OURS:
    return {}
  # every workload's prompts are a multiple of 8
  devices = math.gcd(8, os.cpu_count() or 1)
  return {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}


def installed(pythons: Mapping[str, str]) -> dict[str, str]:
  """Returns those whose interpreter has the peer; says so of the others."""
  found = {}
  for name, python in pythons.items():
    command = [python, "-c", _IMPORTS[name]]
    try:
      subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
      print(f"{name} is not installed for {python or 'any python'}: left out")
    else:
      found[name] = python
  return found


def peers_table(pythons: Mapping[str, str], repeats: int) -> None:
  """Prints times of a step and ratios, for each workload.

  Args:
    pythons: of each peer the interpreter of its environment, by name.
    repeats: timed turns.
  """
  ours = dict.fromkeys((OURS, OURS_ALONE), sys.executable)
  everyone = ours | installed(pythons)
  for workload in WORKLOADS:
    with _started(everyone, workload) as contestants:
      turns = [
        {name: one.step() for name, one in contestants.items()}
        for _ in range(_WARM_UP + repeats)
      ]
    print_turns(workload, turns[_WARM_UP:])


@contextlib.contextmanager
def _started(
  pythons: Mapping[str, str], workload: str
) -> Iterator[dict[str, Contestant]]:
  """Starts everyone, and ends them at last."""
  with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
    contestants = {}
    for name, python in pythons.items():
      one = Contestant(name, python, workload, Path(folder))
      contestants[name] = stack.enter_context(contextlib.closing(one))
    yield contestants


def print_turns(workload: str, turns: Sequence[Mapping[str, Step]]) -> None:
  """Prints a line a contestant; ratios are to ours in the same turn."""
  sizes = WORKLOADS[workload]
  print(
    f"{workload}: {sizes.num_prompts} prompts x {sizes.group_size}, "
    f"{sizes.response_length} tokens, medians of {len(turns)} turns, "
    "ms (times ours)"
  )
  parts = [field.name for field in dataclasses.fields(Step)][:-1]
  print(f"  {'':<8}" + "".join(f"{part:>18}" for part in parts))
  for name in turns[0]:
    cells = []
    for part in parts:
      pairs = [(getattr(t[name], part), getattr(t[OURS], part)) for t in turns]
      taken = 1e3 * statistics.median(a for a, _ in pairs)
      ratio = statistics.median(a / b for a, b in pairs)
      cells.append(f"{taken:10.1f} ({ratio:4.2f})")
    reward = turns[-1][name].reward
    print(f"  {name:<8}" + "".join(f"{c:>18}" for c in cells), end="")
    print(f"   reward at the end {reward:.3f}", flush=True)
