r"""Compile a run for a TPU slice on a machine without TPUs.

    pip install "jax[tpu]"
    python -m experiments.rehearse --config=configs/qwen25_7b_dapo.py \
        --topology=v5p:4x4x4
    python -m experiments.rehearse --statistics=8192 --topology=v5e:2x2

For the update and for decoding, the command prints what one device needs:
arguments, temporaries and their peak as a share of the chip's memory, FLOPs,
collectives, and the least time that these take. If a part does not fit, it
prints which settings to change. No array is created and nothing runs. The
folder model.path need not exist if model_sizes.py lists the model. The compiler
is the one that a real slice uses, so its memory figures hold on a real slice.

With --statistics the command compares token statistics with and without logits
in memory, on one chip.
"""

import os

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
# several rehearsals may run at the same time: no process owns a TPU
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from collections.abc import Mapping, Sequence
from pathlib import Path
import time
from typing import Any, NamedTuple

from absl import flags
import jax
from jax.experimental import topologies
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict as Config
from ml_collections import config_flags

from entrojax.assembly.check_rows import check_divisibility
from entrojax.assembly.check_settings import check
from entrojax.assembly.graphs import make_update_of
from entrojax.assembly.methods import Recipe, make_recipe
from entrojax.assembly.model import Policy, make_generate, make_model
from entrojax.models import lora
from entrojax.system.command_line import command
from entrojax.system.sharding import (
  by_row,
  make_mesh,
  num_row_shards,
  param_shardings,
  replicated,
)
from entrojax.types import Batch, Model, Prompts
from entrojax.update.train_step import init_state
from experiments import hlo
from experiments.model_sizes import sizes_of
from experiments.scale import statistics_memory

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  "configs/qwen25_7b_dapo.py",
  "the run to rehearse",
  flag_values=FLAGS,
)
_TOPOLOGY = flags.DEFINE_string(
  "topology",
  "v5p:4x4x4",
  "the TPU slice: v4, v5e, v5p or v6e, and its shape",
  flag_values=FLAGS,
)
_SLICES = flags.DEFINE_integer(
  "slices",
  1,
  "the number of such slices, joined by a data centre's network",
  flag_values=FLAGS,
)
_PARTS = flags.DEFINE_list(
  "parts",
  ["update", "decode"],
  "the parts to compile: update, decode or both",
  flag_values=FLAGS,
)
_STATISTICS = flags.DEFINE_integer(
  "statistics",
  0,
  "compare token statistics for this number of tokens on one chip instead",
  flag_values=FLAGS,
)


class Chip(NamedTuple):
  """A chip's figures, as its maker publishes them."""

  memory: float  # bytes
  flops: float  # bfloat16 operations per second
  bandwidth: float  # bytes per second from its memory
  links: float  # bytes per second over all its links to other chips


CHIPS = {
  "v4": Chip(32 * 2**30, 275e12, 1.2e12, 300e9),
  "v5e": Chip(16 * 2**30, 197e12, 0.82e12, 200e9),
  "v5p": Chip(95 * 2**30, 459e12, 2.77e12, 600e9),
  "v6e": Chip(32 * 2**30, 918e12, 1.64e12, 448e9),
}


class _Ends(NamedTuple):
  """The part of a tokenizer that decoding needs."""

  eos_ids: tuple[int, ...] = (1,)
  pad_id: int = 0


def topology_devices(
  name: str, num_slices: int = 1
) -> tuple[Sequence[Any], Chip]:
  """Return the devices of slices, for the compiler only, and their chip."""
  kind = name.partition(":")[0]
  if kind not in CHIPS:
    raise ValueError(f"--topology={name}: the chip is one of {sorted(CHIPS)}")
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
  return topology.devices, CHIPS[kind]


def lower_update(
  config: Config,
  recipe: Recipe,
  model: Model,
  mesh: Mesh,
  platform: str = "tpu",
) -> tuple[Any, hlo.Flops]:
  """Lower the update for a mesh.

  Returns:
    The lowered update of one rollout batch, and its FLOPs on all devices.
  """
  base, params = _params(config, model, mesh)
  state = jax.eval_shape(
    lambda p: init_state(p, optimizer=recipe.optimizer), params
  )
  shardings = param_shardings(mesh, state)

  def run(base, *arguments):
    policy = model if base is None else lora.on_base(model, base)
    return make_update_of(config, recipe, mesh)(policy)(*arguments)

  traced = jax.jit(
    run, donate_argnums=1, out_shardings=(shardings, replicated(mesh))
  ).trace(
    base,
    _placed(state, shardings),
    params if recipe.needs_reference else None,
    _batch(config, mesh),
    _key(mesh),
  )
  return traced.lower(lowering_platforms=(platform,)), hlo.flops(traced.jaxpr)


def lower_decoding(
  config: Config, model: Model, mesh: Mesh, platform: str = "tpu"
) -> tuple[Any, hlo.Flops]:
  """Lower decoding for a mesh.

  Returns:
    The lowered rollout, and its FLOPs on all devices. A loop whose length is
    not known counts once, so these are the FLOPs of one decoding step.
  """
  base, params = _params(config, model, mesh)
  rollout = config.rollout
  prompts = Prompts(
    tokens=_rows(mesh, (rollout.num_prompts, rollout.prompt_length), "int32"),
    mask=_rows(mesh, (rollout.num_prompts, rollout.prompt_length), "float32"),
    ids=_rows(mesh, (rollout.num_prompts,), "int32"),
  )

  def run(base, *arguments):
    policy = Policy(model, base)
    return make_generate(
      config, policy, _Ends(), mesh, rollout, rollout.group_size
    )(*arguments)

  traced = jax.jit(run, out_shardings=by_row(mesh)).trace(
    base, params, prompts, _key(mesh)
  )
  return traced.lower(lowering_platforms=(platform,)), hlo.flops(traced.jaxpr)


def _params(config: Config, model: Model, mesh: Mesh) -> tuple[Any, Any]:
  """Return the shapes of the frozen base and of the trained parameters.

  Without LoRA the base is None. As in entrojax/assembly/model.py, a base has
  the type of the activations.
  """
  base, params = jax.eval_shape(
    lambda key: lora.split(model.init(key)), jax.random.key(0)
  )
  if not config.lora.rank:
    return None, _placed(base, param_shardings(mesh, base))
  dtype = jnp.dtype(config.model.dtype)
  base = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), base)
  return tuple(_placed(x, param_shardings(mesh, x)) for x in (base, params))


def _batch(config: Config, mesh: Mesh) -> Batch:
  """Return the shapes of a rollout batch."""
  rollout = config.rollout
  num_rows = rollout.num_prompts * rollout.group_size
  length = rollout.prompt_length + rollout.response_length
  tokens = _rows(mesh, (num_rows, length), "int32")
  number = _rows(mesh, (num_rows, rollout.response_length), "float32")
  return Batch(
    tokens=tokens,
    positions=tokens,
    response_mask=number,
    keep=_rows(mesh, (num_rows,), "float32"),
    old_log_probs=number,
    old_entropy=number,
    advantages=number,
  )


def _rows(mesh: Mesh, shape: tuple[int, ...], dtype: str):
  """Return the shape of an array whose rows are split over the mesh."""
  return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=by_row(mesh))


def _key(mesh: Mesh):
  """Return the shape of a random key."""
  key = jax.eval_shape(lambda: jax.random.key(0))
  return jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated(mesh))


def _placed(shapes: Any, shardings: Any) -> Any:
  """Return a tree of shapes with their shardings."""
  return jax.tree.map(
    lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    shapes,
    shardings,
  )


def describe(
  name: str,
  lowered: Any,
  flops: hlo.Flops,
  chip: Chip,
  num_devices: int,
  advice: str,
) -> None:
  """Compile a part and print what one device needs.

  Args:
    name: the part's title.
    lowered: the lowered function.
    flops: its FLOPs on all devices.
    chip: the devices' chip.
    num_devices: number of devices.
    advice: settings to change, printed if the part does not fit.
  """
  start = time.perf_counter()
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    print(f"{name}: does not fit.\n{str(error)[:800]}\nTry: {advice}")
    return
  seconds = time.perf_counter() - start
  print(f"{name}: compiled in {seconds:.0f} s, a device of {num_devices} has")
  memory, program = compiled.memory_analysis(), hlo.read(compiled.as_text())
  share = _print_memory(memory, program, chip)
  _print_work(memory, program, flops, chip, num_devices)
  if share > 0.9:
    print(f"  less than 10 % of the memory is free. Try: {advice}")


def _print_memory(memory: Any, program: hlo.Program, chip: Chip) -> float:
  """Print what a device holds; return the peak's share of its memory."""
  peak = (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
    + memory.temp_size_in_bytes
  )
  share = peak / chip.memory
  name, size = program.largest
  print(f"  arguments     {_giga(memory.argument_size_in_bytes)}")
  print(f"  temporaries   {_giga(memory.temp_size_in_bytes)}")
  print(f"  peak          {_giga(peak)}, {share:.1%} of {_giga(chip.memory)}")
  print(f"  largest array {name}, {_giga(size)}")
  return share


def _print_work(
  memory: Any,
  program: hlo.Program,
  flops: hlo.Flops,
  chip: Chip,
  num_devices: int,
) -> None:
  """Print what a device computes and sends, and the least time for it."""
  seconds_of = lambda total: total / num_devices / chip.flops
  print(f"  FLOPs         {flops.total / num_devices / 1e12:,.3f} T")
  for kind, size in sorted(program.collectives.items()):
    print(f"  {kind:13} {_giga(size)}")
  # what goes to another slice does not use the links within a slice
  moved = sum(n for kind, n in program.collectives.items() if kind != "send")
  print(
    f"  at least      {seconds_of(flops.total):.3f} s of products, "
    f"{moved / chip.links:.3f} s of links, "
    f"{memory.argument_size_in_bytes / chip.bandwidth:.3f} s to read the "
    "arguments once"
  )
  if program.cycles:
    print(f"  the compiler estimates {program.cycles / 1e6:,.1f} M cycles:")
    for operation, cycles in program.dearest.items():
      print(f"    {cycles / program.cycles:5.1%}  {operation}")
  if program.num_kernels:
    print(
      f"  not in the estimate: {program.num_kernels:,} calls of kernels, at "
      f"least {seconds_of(flops.kernels):.3f} s of products"
    )


def _giga(num_bytes: float) -> str:
  return f"{num_bytes / 1e9:,.2f} GB"


def _advice(config: Config) -> Mapping[str, str]:
  """Return advice on settings that save memory, for each part."""
  attention = (
    "model.fused_attention, a smaller model.query_chunk (now "
    f"{config.model.query_chunk}), "
  )
  return {
    "update": (
      "more training.num_microbatches (now "
      f"{config.training.num_microbatches}), "
      f"{'' if config.model.fused_attention else attention}"
      "model.rematerialise and scan_layers, or a longer fsdp or tensor axis of "
      "the mesh"
    ),
    "decode": (
      f"fewer rollout.num_slots (now {config.rollout.num_slots}), or a longer "
      "tensor axis of the mesh, up to the number of key-value heads"
    ),
  }


@command(FLAGS, settings="configs/default.py")
def main() -> None:
  """Compile the parts and print what they need."""
  config = _CONFIG.value
  titles = {
    "update": "update, of one rollout batch",
    "decode": "decode, one step",
  }
  if not _PARTS.value or not set(_PARTS.value) <= titles.keys():
    raise ValueError(
      f"--parts={','.join(_PARTS.value)}: the parts are {', '.join(titles)}"
    )
  if _SLICES.value < 1:
    raise ValueError(f"--slices must be at least 1, got {_SLICES.value}")
  if _STATISTICS.value:
    devices, _ = topology_devices(_TOPOLOGY.value)
    statistics_memory(
      _STATISTICS.value, dtype=config.model.dtype, device=devices[0]
    )
    return
  check(config)
  sizes = sizes_of(config.model.path)
  devices, chip = topology_devices(_TOPOLOGY.value, _SLICES.value)
  mesh = make_mesh(config.mesh, devices)
  check_divisibility(config, num_row_shards(mesh))
  recipe, model = make_recipe(config), make_model(config, sizes, mesh)
  rollout = config.rollout
  print(
    f"{Path(config.model.path).name} on {_SLICES.value} x {_TOPOLOGY.value}, "
    f"mesh {dict(mesh.shape)}; {rollout.num_prompts} x {rollout.group_size} "
    f"rows of {rollout.prompt_length} + {rollout.response_length} tokens"
  )
  lower = {
    "update": lambda: lower_update(config, recipe, model, mesh),
    "decode": lambda: lower_decoding(config, model, mesh),
  }
  for part in _PARTS.value:
    lowered, flops = lower[part]()
    describe(
      titles[part], lowered, flops, chip, len(devices), _advice(config)[part]
    )


if __name__ == "__main__":
  main()
