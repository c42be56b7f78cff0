"""Measure an update whose micro-batches have rows of similar length.

    python -m experiments.length_buckets \
        --splits="2,False,32-64;8,False,32-64;8,False,"

Is an update faster with training.response_buckets, and what memory does it
take? The model samples one rollout batch. Each split of it is
training.num_microbatches, training.rematerialise and the buckets, and its
update is timed in turns with the config's own, in one process.

The columns are ratios to the config's own update: CPU seconds of the process
(the median of the pairs, the least and the most), seconds (the median), and
bytes of temporaries. The last column is the seconds to compile.
"""

from collections.abc import Callable, Iterator
import os
import statistics
import time

from absl import flags
import jax
from ml_collections import ConfigDict as Config
from ml_collections import config_flags
import numpy as np

from entrojax.assembly.run import Run, build
from entrojax.system.command_line import command
from entrojax.types import Batch
from experiments.costs import (
  compile_update,
  graph_costs,
  random_batch,
  timed_update,
)

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config", "configs/reasoning.py", "the run", flag_values=FLAGS
)
_SPLITS = flags.DEFINE_string(
  "splits",
  "2,False,32-64;8,False,32-64;16,False,32-64;8,True,32-64;8,False,",
  "num_microbatches,rematerialise,LENGTH-LENGTH of each split, with ; between",
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


@command(FLAGS, settings="configs/default.py")
def main() -> None:
  """Time each split in turns with the config's own."""
  config = _CONFIG.value
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
