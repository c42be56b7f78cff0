"""Compile a part of a rollout step and print what one device needs for it."""

from collections.abc import Callable
import time
from typing import Any, NamedTuple

import jax

from entrojax.system.memory import peak_of
from experiments import hlo
from experiments.chips import Chip


class Part(NamedTuple):
  """A part of a rollout step, to be compiled."""

  trace: Callable[[], Any]  # returns what jax.jit(...).trace returns
  # the share of the calls that run each branch of a condition; see hlo.read
  shares: tuple[float, ...] = ()
  # bytes of the arguments of all devices that a call does not read, on average
  unread: float = 0.0


class Measured(NamedTuple):
  """What the compiler says of a part, for one device."""

  seconds: float  # of compiling
  peak: float  # bytes
  arguments: float  # bytes
  temporaries: float  # bytes
  program: hlo.Program
  flops: float
  kernel_flops: float  # the part of them in hand-written kernels
  unread: float = 0.0  # bytes of the arguments that are not read, on average

  def by_cycles(self, chip: Chip) -> float:
    """Return seconds: the compiler's cycles, and kernels at their bound."""
    return self.program.cycles / chip.clock + self.kernel_flops / chip.flops

  def by_roofline(self, chip: Chip) -> float:
    """Return the least seconds: products, links, or reading the arguments."""
    return max(
      self.flops / chip.flops,
      moved_bytes(self.program) / chip.links,
      (self.arguments - self.unread) / chip.bandwidth,
    )


class DoesNotFitError(Exception):
  """A part needs more memory than a device has."""


def measure(part: Part, platform: str, num_devices: int) -> Measured:
  """Compile a part.

  Args:
    part: the part.
    platform: the platform of the devices, such as "tpu".
    num_devices: the number of devices that share the work.

  Raises:
    DoesNotFitError: the compiler found no program that fits.
  """
  traced = part.trace()
  flops = hlo.needed_flops(traced.jaxpr, part.shares)
  lowered = traced.lower(lowering_platforms=(platform,))
  start = time.perf_counter()
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise DoesNotFitError(str(error)[:800]) from error
  seconds = time.perf_counter() - start
  memory = compiled.memory_analysis()
  return Measured(
    seconds,
    peak_of(compiled),
    memory.argument_size_in_bytes,
    memory.temp_size_in_bytes,
    hlo.read(compiled.as_text(), part.shares),
    flops.total / num_devices,
    flops.kernels / num_devices,
    part.unread / num_devices,
  )


def moved_bytes(program: hlo.Program) -> float:
  """Return the bytes that go over the links within a slice."""
  return sum(n for kind, n in program.collectives.items() if kind != "send")


def describe(part: Measured, chip: Chip) -> str:
  """Write what one device needs for a part."""
  program = part.program
  name, size = program.largest
  lines = [
    f"  arguments     {giga(part.arguments)}",
    f"  temporaries   {giga(part.temporaries)}",
    f"  peak          {giga(part.peak)}, {part.peak / chip.memory:.1%} of "
    f"{giga(chip.memory)}",
    f"  largest array {name}, {giga(size)}",
    f"  FLOPs         {part.flops / 1e12:,.3f} T",
  ]
  lines += [
    f"  {kind:13} {giga(n)}" for kind, n in sorted(program.collectives.items())
  ]
  lines.append(
    f"  at least      {part.flops / chip.flops:.3f} s of products, "
    f"{moved_bytes(program) / chip.links:.3f} s of links, "
    f"{(part.arguments - part.unread) / chip.bandwidth:.3f} s to read the "
    "arguments once"
  )
  if program.cycles:
    lines.append(
      f"  the compiler estimates {program.cycles / 1e6:,.1f} M cycles, "
      f"{program.cycles / chip.clock:.4g} s:"
    )
    lines += [
      f"    {cycles / program.cycles:5.1%}  {operation}"
      for operation, cycles in program.dearest.items()
    ]
  if program.num_kernels:
    lines.append(
      f"  not in the estimate: {program.num_kernels:,} calls of kernels, at "
      f"least {part.kernel_flops / chip.flops:.3f} s of products"
    )
  return "\n".join(lines)


def giga(num_bytes: float) -> str:
  """Write a number of bytes."""
  return f"{num_bytes / 1e9:,.2f} GB"
