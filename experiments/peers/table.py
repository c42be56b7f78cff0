"""Run the contestants in turn, and print their times as multiples of ours.

Each contestant is a process that stays up and computes one step in its turn:
entrojax, a peer, the other peer, entrojax again, and so on. A ratio is the
median over turns of a contestant's time divided by entrojax's. On a CPU,
entrojax takes part with one fake device per core, each with its share of the
rows, in float32 and in mixed precision, and once more in float32 with one
device that all cores share. A large model has one device alone, because each
device would hold a copy of its weights. Torch and Tunix run as they do by
default, on all cores. In mixed precision, weights and optimizer stay in
float32.
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

import jax

from experiments.peers.workload import WORKLOADS, Step, read_steps

OURS, OURS_ALONE, OURS_BF16 = "ours", "1 device", "ours bf16"
TRL, TRL_BF16, TUNIX = "TRL", "TRL bf16", "Tunix"
MODULES = {
  OURS: "our_step",
  OURS_ALONE: "our_step",
  OURS_BF16: "our_step",
  TRL: "trl_step",
  TRL_BF16: "trl_step",
  TUNIX: "tunix_step",
}
_MIXED_PRECISION = (OURS_BF16, TRL_BF16)
IN_FLOAT32 = tuple(name for name in MODULES if name not in _MIXED_PRECISION)
_IMPORTS = {TRL: "import trl, torch", TUNIX: "import tunix"}


class Contestant:
  """A trainer in a process of its own, which makes a step on request."""

  def __init__(self, name: str, python: str, workload: str, folder: Path):
    """Start the process.

    Args:
      name: a key of MODULES.
      python: the Python interpreter of the trainer's environment.
      workload: a key of WORKLOADS.
      folder: the process writes its errors to a file here.

    Raises:
      ValueError: the process ended; the message has its last lines.
    """
    self._name, self._errors = name, folder / f"{name}.txt"
    module = f"experiments.peers.{MODULES[name]}"
    dtype = "bfloat16" if name in _MIXED_PRECISION else "float32"
    with self._errors.open("w") as errors:
      self._process = subprocess.Popen(
        [python, "-m", module, workload, dtype],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, **_environment(name, workload)},
      )
    assert self._process.stdout is not None
    self._steps = read_steps(self._process.stdout)
    self._read()  # it is ready

  def step(self) -> Step:
    """Request a step and wait for it.

    Raises:
      ValueError: the process ended; the message has its last lines.
    """
    assert self._process.stdin is not None
    print(file=self._process.stdin, flush=True)
    step = self._read()
    assert step is not None
    self._read()  # it is ready again
    return step

  def close(self) -> None:
    """End the process."""
    self._process.kill()
    self._process.communicate()

  def _read(self) -> Step | None:
    """Read the next line: the step, or None if the process is ready."""
    try:
      return next(self._steps)
    except StopIteration:
      last = "\n".join(self._errors.read_text().splitlines()[-5:])
      raise ValueError(f"{self._name} has ended:\n{last}") from None


def _environment(name: str, workload: str) -> dict[str, str]:
  """Return the environment variables to add for a contestant's process."""
  if name not in (OURS, OURS_BF16) or WORKLOADS[workload].is_large:
    return {}
  # the number of prompts is a multiple of 8 in every workload
  devices = math.gcd(8, os.cpu_count() or 1)
  return {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}


def installed(pythons: Mapping[str, str]) -> dict[str, str]:
  """Return the peers that are installed, and report the others.

  Args:
    pythons: peer -> the Python interpreter of its environment.
  """
  usable = {}
  for name, python in pythons.items():
    command = [python, "-c", _IMPORTS[name]]
    try:
      subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
      print(f"{name} is not installed for {python or 'any python'}: left out")
    else:
      usable[name] = python
  return usable


def print_peers(
  pythons: Mapping[str, str],
  repeats: int,
  workloads: Sequence[str],
  names: Sequence[str],
) -> None:
  """Print the times of a step and their ratios to ours, for each workload.

  Args:
    pythons: peer -> the Python interpreter of its environment.
    repeats: timed turns.
    workloads: keys of WORKLOADS.
    names: keys of MODULES, those who take part. OURS does in any case, a peer
      if it is installed, and OURS_ALONE if OURS has several devices.
  """
  usable = installed(pythons)
  if TRL in usable:
    usable[TRL_BF16] = usable[TRL]
  usable |= dict.fromkeys((OURS, OURS_ALONE, OURS_BF16), sys.executable)
  for workload in workloads:
    names_here = {OURS, *names}
    if jax.default_backend() != "cpu" or WORKLOADS[workload].is_large:
      names_here.discard(OURS_ALONE)
    taking_part = {
      name: usable[name]
      for name in MODULES
      if name in usable and name in names_here
    }
    with _running(taking_part, workload) as contestants:
      turns = [
        {name: one.step() for name, one in contestants.items()}
        for _ in range(_warm_up(workload) + repeats)
      ]
    print_turns(workload, turns[_warm_up(workload) :])


def _warm_up(workload: str) -> int:
  """Return how many first turns are not timed, because they compile."""
  return 1 if WORKLOADS[workload].is_large else 2


@contextlib.contextmanager
def _running(
  pythons: Mapping[str, str], workload: str
) -> Iterator[dict[str, Contestant]]:
  """Start all contestants, and end them with the context."""
  with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
    contestants = {}
    for name, python in pythons.items():
      one = Contestant(name, python, workload, Path(folder))
      contestants[name] = stack.enter_context(contextlib.closing(one))
    yield contestants


def print_turns(workload: str, turns: Sequence[Mapping[str, Step]]) -> None:
  """Print one line per contestant; a ratio is to ours in the same turn."""
  sizes = WORKLOADS[workload]
  print(
    f"{workload}: {sizes.num_prompts} prompts x {sizes.group_size}, "
    f"{sizes.response_length} tokens, medians of {len(turns)} turns, "
    "ms (times ours), memory in MB"
  )
  parts = [field.name for field in dataclasses.fields(Step)]
  parts.remove("reward")
  print(f"  {'':<9}" + "".join(f"{part:>18}" for part in parts))
  for name in turns[0]:
    cells = []
    for part in parts:
      pairs = [(getattr(t[name], part), getattr(t[OURS], part)) for t in turns]
      unit = 1e-6 if part == "memory" else 1e3
      taken = unit * statistics.median(a for a, _ in pairs)
      ratio = statistics.median(a / b for a, b in pairs)
      cells.append(f"{taken:10.1f} ({ratio:4.2f})")
    reward = turns[-1][name].reward
    print(f"  {name:<9}" + "".join(f"{c:>18}" for c in cells), end="")
    print(f"   reward at the end {reward:.3f}", flush=True)
