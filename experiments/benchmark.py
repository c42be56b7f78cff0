r"""Measure how fast the parts of a rollout step are on this machine.

    python -m experiments.benchmark [--config=configs/grpo.py:demo]
    python -m experiments.benchmark --costs [--methods=kl_cov,steer]
    python -m experiments.benchmark --statistics=8192 --repeats=3
    python -m experiments.benchmark --slots --repeats=5
    python -m experiments.benchmark --roofline
    python -m experiments.benchmark --products
    python -m experiments.benchmark --peers --trl_python=trl/bin/python \
        --tunix_python=tunix/bin/python

Without further flags it prints medians: the matmul peak measured in the same
run, decoding in tokens per second, the update in milliseconds, and the model
FLOPs per second of both as a share of the peak. Model FLOPs count each
operation that the mathematics needs once, so that rematerialisation does not
raise them.

Each flag replaces this by another measurement:

  --costs       an update of each method, as a ratio to plain GRPO's
  --statistics  token statistics with and without logits in memory
  --slots       decoding in refilled slots and in static batches
  --roofline    update and decoding at two widths, compared with the machine
  --products    a dense layer's products, with operands in float32 and bfloat16
  --peers       a whole step of ours, TRL's and Tunix's; each of the others
                needs an environment with its packages (see RESULTS.md)
"""

from collections.abc import Iterator
import statistics

from absl import flags
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict as Config
from ml_collections import config_flags

from entrojax.assembly.run import Run, build
from entrojax.system.command_line import command
from experiments.costs import (
  compile_update,
  print_costs,
  random_batch,
  timed_update,
)
from experiments.machine import forward_flops, matmul_peak, median_seconds
from experiments.methods import select_methods
from experiments.narrow_products import print_products
from experiments.peers.table import IN_FLOAT32, MODULES, print_peers
from experiments.peers.workload import WORKLOADS
from experiments.roofline import print_roofline
from experiments.scale import print_slots, print_statistics

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "the run whose shapes are measured, without any of the flags below",
  flag_values=FLAGS,
)
_REPEATS = flags.DEFINE_integer(
  "repeats",
  9,
  "the number of timed runs, of which the median is taken",
  flag_values=FLAGS,
)
_COSTS = flags.DEFINE_bool(
  "costs", False, "compare the methods' updates", flag_values=FLAGS
)
_STATISTICS = flags.DEFINE_integer(
  "statistics",
  0,
  "compare token statistics for this number of tokens",
  flag_values=FLAGS,
)
_SLOTS = flags.DEFINE_bool(
  "slots",
  False,
  "compare decoding in slots with static batches",
  flag_values=FLAGS,
)
_ROOFLINE = flags.DEFINE_bool(
  "roofline",
  False,
  "compare update and decoding with the machine's peak rates",
  flag_values=FLAGS,
)
_PRODUCTS = flags.DEFINE_bool(
  "products",
  False,
  "compare types of the operands of dense products",
  flag_values=FLAGS,
)
_PEERS = flags.DEFINE_bool(
  "peers", False, "compare a step with other trainers", flag_values=FLAGS
)
_TRL = flags.DEFINE_string(
  "trl_python",
  "",
  "the Python interpreter of an environment with trl",
  flag_values=FLAGS,
)
_TUNIX = flags.DEFINE_string(
  "tunix_python",
  "",
  "the Python interpreter of an environment with google-tunix",
  flag_values=FLAGS,
)
_WORKLOADS = flags.DEFINE_list(
  "workloads",
  list(WORKLOADS),
  f"with --peers: {', '.join(WORKLOADS)}",
  flag_values=FLAGS,
)
_CONTESTANTS = flags.DEFINE_multi_enum(
  "contestant",
  list(IN_FLOAT32),
  list(MODULES),
  "with --peers: takes part beside ours; may be repeated",
  flag_values=FLAGS,
)
_METHODS = flags.DEFINE_list(
  "methods",
  [],
  "with --costs: names of configs; all methods by default",
  flag_values=FLAGS,
)


@command(
  FLAGS, settings="configs/default.py", default_config="configs/grpo.py:demo"
)
def main() -> None:
  """Make the measurements that the flags select."""
  repeats = _REPEATS.value
  if _COSTS.value:
    print_costs(select_methods(_METHODS.value), repeats)
    return
  if _STATISTICS.value:
    print_statistics(_STATISTICS.value, repeats)
  if _SLOTS.value:
    print_slots(repeats)
  if _ROOFLINE.value:
    print_roofline(repeats)
  if _PRODUCTS.value:
    print_products(repeats)
  if _PEERS.value:
    print_peers(
      {"TRL": _TRL.value, "Tunix": _TUNIX.value},
      repeats,
      _WORKLOADS.value,
      _CONTESTANTS.value,
    )
  others = (_STATISTICS, _SLOTS, _ROOFLINE, _PRODUCTS, _PEERS)
  if not any(flag.value for flag in others):
    print_parts(_CONFIG.value, repeats)


def print_parts(config: Config, repeats: int) -> None:
  """Print the speed of decoding and of the update of a run.

  Args:
    config: the run's settings.
    repeats: timed runs of each.
  """
  run = build(config)
  keys = iter(jax.random.split(jax.random.key(0), 10_000))
  tokens, decoding = _time_decoding(run, keys, repeats)
  batch = random_batch(run)
  update = timed_update(run, batch, compile_update(run, batch))
  updating = statistics.median(update() for _ in range(repeats))
  peak, _ = matmul_peak(repeats)

  rollout = config.rollout
  num_rows = rollout.num_prompts * rollout.group_size
  response = rollout.response_length
  decode_flops = _decode_flops(run, config)
  update_flops = 3 * decode_flops * config.training.num_epochs
  print(
    f"{jax.device_count()} x {jax.devices()[0].device_kind}, {num_rows} rows"
    f" of {rollout.prompt_length} + {response} tokens, medians of {repeats}"
  )
  print(f"float32 matmul peak   {peak / 1e9:8.1f} GFLOP/s")
  print(
    f"decoding              {decoding * 1e3:8.1f} ms"
    f"   {tokens / decoding:8.0f} tokens/s"
    f"   {num_rows * response / decoding:8.0f} slots/s"
    f"   {decode_flops / decoding / peak:6.1%} of the peak"
  )
  print(
    f"update ({config.training.updates_per_rollout} steps)"
    f"      {updating * 1e3:8.1f} ms"
    f"   {num_rows * response / updating:8.0f} tokens/s"
    f"   {'':>16}"
    f"   {update_flops / updating / peak:6.1%} of the peak"
  )


def _time_decoding(
  run: Run, keys: Iterator[jax.Array], repeats: int
) -> tuple[float, float]:
  """Return the number of tokens of a rollout, and the median seconds."""
  prompts, _ = next(run.data.stream)
  params = jax.tree.map(jnp.copy, run.state.params)
  rollout = run.functions.generate(params, prompts, next(keys))
  seconds = median_seconds(
    lambda: run.functions.generate(params, prompts, next(keys)), repeats
  )
  return float(rollout.response_mask.sum()), seconds


def _decode_flops(run: Run, config: Config) -> float:
  """Return the model FLOPs of a rollout whose responses are all full."""
  rollout = config.rollout
  prompt, response = rollout.prompt_length, rollout.response_length
  num_rows = rollout.num_prompts * rollout.group_size
  prefill = forward_flops(
    run.sizes, rollout.num_prompts * prompt, prompt / 2, predicted=0
  )
  responses = forward_flops(
    run.sizes,
    num_rows * (response - 1),
    prompt + response / 2,
    predicted=num_rows * response,
  )
  return prefill + responses


if __name__ == "__main__":
  main()
