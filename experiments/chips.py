"""The figures of TPU chips, and slices of them for the compiler."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.experimental import topologies


class Chip(NamedTuple):
  """A chip's figures, as its maker publishes them."""

  memory: float  # bytes
  flops: float  # bfloat16 operations per second
  bandwidth: float  # bytes per second from its memory
  links: float  # bytes per second over all its links to other chips
  # Cycles per second: `flops` divided by the operations of all matrix units in
  # a cycle. Each of the 4 (v5e), 8 (v4 and v5p) or 4 (v6e) units multiplies 128
  # x 128, and 256 x 256 on v6e.
  clock: float


CHIPS = {
  "v4": Chip(32 * 2**30, 275e12, 1.2e12, 300e9, 1.05e9),
  "v5e": Chip(16 * 2**30, 197e12, 0.82e12, 200e9, 1.5e9),
  "v5p": Chip(95 * 2**30, 459e12, 2.77e12, 600e9, 1.75e9),
  "v6e": Chip(32 * 2**30, 918e12, 1.64e12, 448e9, 1.75e9),
}


def chip_of(topology: str) -> Chip:
  """Return the chip of a slice such as v5p:4x4x4."""
  kind = topology.partition(":")[0]
  if kind not in CHIPS:
    raise ValueError(
      f"--topology={topology}: the chip is one of {sorted(CHIPS)}"
    )
  return CHIPS[kind]


def topology_devices(
  name: str, num_slices: int = 1
) -> tuple[Sequence[Any], Chip]:
  """Return the devices of slices, for the compiler only, and their chip."""
  chip = chip_of(name)
  # the compiler takes a slice of one chip only if a host may have one
  is_one = name.partition(":")[2] in ("1x1", "1x1x1")
  one_chip = {"chips_per_host_bounds": (1, 1, 1)} if is_one else {}
  try:
    topology = topologies.get_topology_desc(
      platform="tpu", topology_name=name, num_slices=num_slices, **one_chip
    )
  except Exception as error:
    raise ValueError(
      f"--topology={name}: {error}. Is libtpu installed (pip install jax[tpu])?"
    ) from error
  return topology.devices, chip
