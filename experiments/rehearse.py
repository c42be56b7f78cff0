r"""Compile a run for a TPU slice on a machine without TPUs.

    pip install "jax[tpu]"
    python -m experiments.rehearse --config=configs/qwen25_7b_dapo.py \
        --topology=v5p:4x4x4
    python -m experiments.rehearse --statistics=8192 --topology=v5e:2x2

For each part of a rollout step (reading the prompts, refilling slots, one
decoding step, the update) the command prints what one device needs: arguments,
temporaries and their peak as a share of the chip's memory, FLOPs, collectives,
the compiler's cycles, and the least time that these take. If a part does not
fit, it prints which settings to change. From all four parts it estimates the
seconds of a rollout step and the tokens per second (step_time.py), and the
update's model FLOPs utilisation. No array is created and nothing runs. The
folder model.path need not exist if model_sizes.py lists the model. The compiler
is the one that a real slice uses, so its memory figures hold on a real slice.

With --tune the command searches the fastest settings that fit (tune.py). With
--statistics it compares token statistics with and without logits in memory, on
one chip.
"""

import os

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
# several rehearsals may run at the same time: no process owns a TPU
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from collections.abc import Mapping
from pathlib import Path

from absl import flags
from jax.sharding import Mesh
from ml_collections import ConfigDict as Config
from ml_collections import config_flags

from entrojax.assembly import rematerialisation
from entrojax.assembly.check_rows import check_divisibility
from entrojax.assembly.check_settings import check
from entrojax.assembly.lowering import trace_update
from entrojax.assembly.methods import Recipe, make_recipe
from entrojax.assembly.model import make_model
from entrojax.models import DecoderConfig
from entrojax.system.command_line import command
from entrojax.system.sharding import make_mesh, num_row_shards
from experiments import hlo, measured, parts, step_time, tune
from experiments.chips import Chip, topology_devices
from experiments.measured import DoesNotFitError, Measured, measure
from experiments.model_sizes import sizes_of
from experiments.scale import statistics_memory

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
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
  list(parts.PARTS),
  f"the parts to compile: {', '.join(parts.PARTS)}",
  flag_values=FLAGS,
)
_MEAN_LENGTH = flags.DEFINE_float(
  "mean_length",
  0,
  "the mean length of a response in tokens, for the estimate of a rollout "
  "step; 0: half of rollout.response_length",
  flag_values=FLAGS,
  lower_bound=0,
)
_TUNE = flags.DEFINE_string(
  "tune",
  "",
  "search the fastest settings instead, and keep what was compiled in this "
  "file of JSON lines (tune.py)",
  flag_values=FLAGS,
)
_STATISTICS = flags.DEFINE_integer(
  "statistics",
  0,
  "compare token statistics for this number of tokens on one chip instead",
  flag_values=FLAGS,
)


def rehearse(
  config: Config,
  recipe: Recipe,
  sizes: DecoderConfig,
  mesh: Mesh,
  chip: Chip,
  names: list[str],
  mean_length: float,
) -> dict[str, Measured]:
  """Compile parts of a rollout step and print what they need.

  Args:
    config: a checked config that leaves nothing open.
    recipe: the run's methods.
    sizes: the model's sizes.
    mesh: the devices.
    chip: the kind of device.
    names: some of parts.PARTS.
    mean_length: the mean length of a response, tokens.

  Returns:
    The parts that fit.
  """
  platform, results = mesh.devices.flat[0].platform, {}
  model = make_model(config, sizes, mesh)
  of_step = parts.parts_of_step(config, recipe, model, mesh, mean_length)
  advice = _advice(config)
  for name in names:
    title = parts.PARTS[name]
    if name not in of_step:
      print(f"{title}: there is a slot for every response.", flush=True)
      continue
    try:
      part = measure(of_step[name], platform, mesh.devices.size)
    except DoesNotFitError as error:
      print(f"{title}: does not fit.\n{error}\nTry: {advice[name]}", flush=True)
      continue
    results[name] = part
    print(
      f"{title}: compiled in {part.seconds:.0f} s, a device of "
      f"{mesh.devices.size} has\n{measured.describe(part, chip)}",
      flush=True,
    )
    if part.peak > 0.9 * chip.memory:
      print(f"  less than 10 % of the memory is free. Try: {advice[name]}")
  return results


def useful_flops(
  config: Config,
  recipe: Recipe,
  sizes: DecoderConfig,
  mesh: Mesh,
  mean_length: float,
) -> float:
  """Return a device's FLOPs in an update that computes nothing twice."""
  kept = rematerialisation.Choice(layers=False, microbatches=False)
  config = rematerialisation.with_choice(config, kept)
  model = make_model(config, sizes, mesh)
  jaxpr = trace_update(config, recipe, model, mesh).jaxpr
  shares = step_time.bucket_shares(config, mesh, mean_length)
  return hlo.needed_flops(jaxpr, shares).total / mesh.devices.size


def _advice(config: Config) -> Mapping[str, str]:
  """Return advice on settings that save memory, for each part."""
  attention = (
    "model.fused_attention, a smaller model.query_chunk (now "
    f"{config.model.query_chunk}), "
  )
  slots = (
    f"fewer rollout.num_slots (now {config.rollout.num_slots}), or a longer "
    "tensor axis of the mesh, up to the number of key-value heads"
  )
  return {
    "reading": f"{slots}, or fewer rollout.num_prompts",
    "refilling": slots,
    "decoding": slots,
    "update": (
      "more training.num_microbatches (now "
      f"{config.training.num_microbatches}), "
      f"{'' if config.model.fused_attention else attention}"
      "model.rematerialise and scan_layers, or a longer fsdp or tensor axis of "
      "the mesh"
    ),
  }


@command(
  FLAGS,
  settings="configs/default.py",
  default_config="configs/qwen25_7b_dapo.py",
)
def main() -> None:
  """Compile the parts and print what they need."""
  config = _CONFIG.value
  if not _PARTS.value or not set(_PARTS.value) <= parts.PARTS.keys():
    raise ValueError(
      f"--parts={','.join(_PARTS.value)}: the parts are "
      f"{', '.join(parts.PARTS)}"
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
  length = _MEAN_LENGTH.value or config.rollout.response_length / 2
  step_time.check_mean_length(length, config, "mean_length")
  sizes = sizes_of(config.model.path)
  devices, chip = topology_devices(_TOPOLOGY.value, _SLICES.value)
  mesh = make_mesh(config.mesh, devices)
  check_divisibility(config, num_row_shards(mesh))
  recipe, rollout = make_recipe(config), config.rollout
  print(
    f"{Path(config.model.path).name} on {_SLICES.value} x {_TOPOLOGY.value}, "
    f"mesh {dict(mesh.shape)}; {rollout.num_prompts} x {rollout.group_size} "
    f"rows of {rollout.prompt_length} + {rollout.response_length} tokens",
    flush=True,
  )
  if _TUNE.value:
    compiler = tune.Compiler(
      Path(_TUNE.value), _TOPOLOGY.value, chip, recipe, sizes, length
    )
    results = tune.search(compiler, config, devices, _SLICES.value)
    print(tune.describe(results))
    return
  if rematerialisation.is_open(config):
    number, reason = rematerialisation.choose(
      config, recipe, sizes, mesh, chip.memory
    )
    choice = rematerialisation.candidates(config)[number]
    print(f"{rematerialisation.describe(choice)}: {reason}", flush=True)
    config = rematerialisation.with_choice(config, choice)
  by_part = rehearse(config, recipe, sizes, mesh, chip, _PARTS.value, length)
  if "update" in by_part and by_part["update"].program.cycles:
    share = step_time.utilisation(
      by_part["update"],
      useful_flops(config, recipe, sizes, mesh, length),
      chip,
    )
    print(f"model FLOPs utilisation of the update by cycles: {share:.1%}")
  is_whole = by_part.keys() == parts.names(config)
  if is_whole and all(part.program.cycles for part in by_part.values()):
    print(step_time.describe(by_part, config, chip, length))


if __name__ == "__main__":
  main()
