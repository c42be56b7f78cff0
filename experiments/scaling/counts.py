"""Count what a step needs at a point, in the compiled graphs of its parts."""

import jax

from entrojax.assembly.methods import make_recipe
from entrojax.assembly.model import make_model
from entrojax.system.sharding import make_mesh
from experiments.measured import measure, moved_bytes
from experiments.parts import parts_of_step
from experiments.peers import our_step
from experiments.scaling.points import Point


def count(point: Point) -> dict[str, float]:
  """Compile the parts of a step and return their costs for one device.

  A rollout reads the prompts once and takes as many decoding steps as a
  response may have tokens. A step of a cache of fixed size reads all of it.

  Raises:
    ValueError: JAX has fewer devices than the point needs.
  """
  devices = jax.devices()[: point.num_devices]
  if len(devices) < point.num_devices:
    raise ValueError(
      f"{point.axis} = {point.value} needs {point.num_devices} devices, JAX "
      f"has {len(devices)}: set "
      "XLA_FLAGS=--xla_force_host_platform_device_count=8"
    )
  config, workload = point.config("model"), point.workload
  mesh = make_mesh(config.mesh, devices)
  model = make_model(config, our_step.decoder_config(workload.sizes), mesh)
  parts = parts_of_step(
    config, make_recipe(config), model, mesh, workload.response_length
  )
  update, reading, decoding = (
    measure(parts[name], "cpu", len(devices))
    for name in ("update", "reading", "decoding")
  )
  steps = workload.response_length
  # the compiler leaves collectives of a single device in the graph
  several = len(devices) > 1
  return {
    "rollout_flops": reading.flops + steps * decoding.flops,
    "rollout_bytes": decoding.peak,
    "rollout_exchanged": several
    * (moved_bytes(reading.program) + steps * moved_bytes(decoding.program)),
    "update_flops": update.flops,
    "update_bytes": update.peak,
    "update_exchanged": several * moved_bytes(update.program),
  }
