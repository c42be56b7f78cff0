"""Measure an update whose micro-batches have rows of similar length.

    python -m experiments.length_buckets \
        --splits="2,False,32-64;8,False,32-64;8,False,"
    python -m experiments.length_buckets --config=configs/qwen25_7b_dapo.py \
        --topology=v5p:4x4x4 --splits="8,layers,8192;8,layers,4096-8192" \
        --mean_lengths=1000,3000,5000

Is an update faster with training.response_buckets, and what memory does it
take? The model samples one rollout batch. Each split of it is
training.num_microbatches, training.rematerialise and the buckets, and its
update is timed in turns with the config's own, in one process.

The columns are ratios to the config's own update: CPU seconds of the process
(the median of the pairs, the least and the most), seconds (the median), and
bytes of temporaries. The last column is the seconds to compile.

With --mean_lengths nothing is compiled and nothing runs. The products of the
traced update are counted, for lengths that are exponential up to the limit
(step_time.py), and the bytes that the backward pass keeps on a device.
"""

import os

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from collections.abc import Callable, Iterator
import statistics
import time

from absl import flags
import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict as Config
from ml_collections import config_flags
import numpy as np

from entrojax.assembly import rematerialisation
from entrojax.assembly.check_settings import check
from entrojax.assembly.lowering import trace_update
from entrojax.assembly.methods import make_recipe
from entrojax.assembly.model import make_model
from entrojax.assembly.run import Run, build
from entrojax.system.command_line import command
from entrojax.system.sharding import make_mesh
from entrojax.types import Batch
from experiments import hlo, step_time
from experiments.chips import topology_devices
from experiments.costs import (
  compile_update,
  graph_costs,
  random_batch,
  timed_update,
)
from experiments.model_sizes import sizes_of

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "the run", flag_values=FLAGS
)
_SPLITS = flags.DEFINE_string(
  "splits",
  "2,False,32-64;8,False,32-64;16,False,32-64;8,True,32-64;8,False,",
  "num_microbatches,rematerialise,LENGTH-LENGTH of each split, with ; between",
  flag_values=FLAGS,
)
_MEAN_LENGTHS = flags.DEFINE_list(
  "mean_lengths",
  [],
  "count products for these mean lengths of a response instead, tokens",
  flag_values=FLAGS,
)
_TOPOLOGY = flags.DEFINE_string(
  "topology",
  "v5e:1x1",
  "with --mean_lengths: the TPU slice, as in experiments.rehearse",
  flag_values=FLAGS,
)
_REPEATS = flags.DEFINE_integer(
  "repeats", 3, "the number of timed pairs", flag_values=FLAGS, lower_bound=1
)


def splits(config: Config, text: str) -> Iterator[tuple[str, Config]]:
  """Yield the splits of --splits, each with the config that it makes."""
  for split in text.split(";"):
    number, kept, lengths = split.split(",")
    own = config.copy_and_resolve_references()
    with own.ignore_type():
      own.training.update(
        {
          "num_microbatches": int(number),
          "rematerialise": {"True": True, "False": False}.get(kept, kept),
          "response_buckets": tuple(map(int, filter(None, lengths.split("-")))),
        }
      )
    yield split, own


def timed(run: Run, batch: Batch) -> tuple[Callable[[], np.ndarray], float]:
  """Compile an update; the function returned makes it and times it.

  Returns:
    (a function that returns CPU seconds, seconds and bytes of temporaries; the
    seconds to compile).
  """
  start = time.perf_counter()
  compiled = compile_update(run, batch)
  seconds = time.perf_counter() - start
  _, memory = graph_costs(compiled)
  update = timed_update(run, batch, compiled)

  def measure() -> np.ndarray:
    cpu = time.process_time()
    wall = update()
    return np.array([time.process_time() - cpu, wall, memory])

  return measure, seconds


def print_counts(config: Config, mesh: Mesh, means: list[float]) -> None:
  """Print the products of each split's update, and the bytes that it keeps.

  Args:
    config: the run's settings.
    mesh: the devices.
    means: mean lengths of a response, tokens.
  """
  sizes, recipe = sizes_of(config.model.path), make_recipe(config)
  whole = 0.0
  for name, own in [("the config", config), *splits(config, _SPLITS.value)]:
    model = make_model(own, sizes, mesh)
    jaxpr = trace_update(own, recipe, model, mesh).jaxpr
    kept = rematerialisation.kept_bytes(own, model, mesh)
    counts = [
      hlo.needed_flops(jaxpr, step_time.bucket_shares(own, mesh, mean)).total
      for mean in means
    ]
    whole = whole or counts[0]
    print(
      f"{name:24}{kept / 1e9:8.2f} GB kept"
      f"{counts[0] / mesh.devices.size / 1e12:14,.1f} TFLOP"
      + "".join(f"{count / whole:8.3f}" for count in counts),
      flush=True,
    )


@command(
  FLAGS,
  settings="configs/default.py",
  default_config="configs/reasoning.py:padded",
)
def main() -> None:
  """Time or count each split beside the config's own."""
  config = _CONFIG.value
  if _MEAN_LENGTHS.value:
    check(config)
    means = list(map(float, _MEAN_LENGTHS.value))
    for mean in means:
      step_time.check_mean_length(mean, config, "mean_lengths")
    devices, _ = topology_devices(_TOPOLOGY.value)
    mesh = make_mesh(config.mesh, devices)
    print_counts(config, mesh, means)
    return
  config.evaluation.split = "validation[:1]"
  run = build(config)
  batch = random_batch(run)
  lengths = np.asarray(batch.response_mask).sum(axis=1)
  update, seconds = timed(run, batch)
  cpu, wall, memory = update()
  print(
    f"{jax.device_count()} x {jax.devices()[0].device_kind}, load "
    f"{os.getloadavg()[0]:.0f}; responses of {lengths.mean():.1f} tokens, "
    f"deciles {np.quantile(lengths, np.arange(1, 10) / 10).astype(int)}\n"
    f"the config's own update: {cpu:.2f} CPU s, {wall:.2f} s, "
    f"{memory / 1e6:.0f} MB, compiled in {seconds:.0f} s\n"
    f"{'split':24}{'CPU':>8}{'from to':>14}{'time':>8}{'memory':>8}"
    f"{'compiled':>10}",
    flush=True,
  )
  for name, own in splits(config, _SPLITS.value):
    other, seconds = timed(build(own), batch)
    pairs = [other() / update() for _ in range(_REPEATS.value)]
    cpus, walls, memories = zip(*pairs, strict=True)
    print(
      f"{name:24}{statistics.median(cpus):8.2f}{min(cpus):8.2f}"
      f"{max(cpus):6.2f}{statistics.median(walls):8.2f}{memories[0]:8.2f}"
      f"{seconds:8.0f} s",
      flush=True,
    )


if __name__ == "__main__":
  main()
