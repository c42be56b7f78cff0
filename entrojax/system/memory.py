"""Say how much memory devices have, and how much a compiled function needs."""

from collections.abc import Sequence
import os
from typing import Any

import jax


def memory_of(devices: Sequence[jax.Device]) -> int | None:
  """Return the memory of devices in bytes; None if it is unknown.

  The devices of a CPU share the memory of the machine.
  """
  if devices[0].platform == "cpu":
    if not hasattr(os, "sysconf"):
      return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  stats = [device.memory_stats() or {} for device in devices]
  limits = [s["bytes_limit"] for s in stats if "bytes_limit" in s]
  return sum(limits) if len(limits) == len(devices) else None


def peak_of(compiled: Any) -> int:
  """Return the bytes that a compiled function needs on each device.

  Args:
    compiled: the result of jax.jit(...).lower(...).compile().
  """
  memory = compiled.memory_analysis()
  return (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
    + memory.temp_size_in_bytes
  )
