"""How fast the parts of a rollout step are, next to what the machine can do.

    python -m experiments.benchmark [--config=configs/grpo.py:demo]
    python -m experiments.benchmark --costs [--methods=kl_cov,steer]
    python -m experiments.benchmark --statistics=8192 --repeats=3
    python -m experiments.benchmark --slots --repeats=5
    python -m experiments.benchmark --roofline
    python -m experiments.benchmark --peers --trl_python=trl/bin/python \
        --tunix_python=tunix/bin/python

Prints medians: the matmul peak measured in the same run, decoding in tokens per
second, the update in seconds, and the model FLOPs per second of both as a share
of the peak. Model FLOPs count the multiplications that the mathematics asks
for, once: rematerialisation does not raise them. With --costs: what an update
of each method costs, as a ratio to plain GRPO's in the same run. With
--statistics: token statistics against logits in memory; with --slots: decoding
in refilled slots against static batches. With --roofline: update and decoding
at two widths against what the machine can do; with --peers: a whole step of
ours against TRL's and Tunix's, in environments of their own with trl and torch,
or google-tunix (experiments/peers; RESULTS.md has what came out).
"""

from collections.abc import Sequence
import statistics

from absl import app, flags, logging
import jax
import jax.numpy as jnp
from ml_collections import config_flags

from entrojax.assembly.run import build
from experiments.costs import (
  compiled_update,
  cost_table,
  random_batch,
  timed_update,
)
from experiments.machine import forward_flops, matmul_peak, median_seconds
from experiments.methods import chosen_methods
from experiments.peers.table import peers_table
from experiments.roofline import roofline_table
from experiments.scale import slots_table, statistics_table

_CONFIG = config_flags.DEFINE_config_file(
  "config", "configs/grpo.py:demo", "the shapes to measure"
)
_REPEATS = flags.DEFINE_integer("repeats", 9, "runs of each, median taken")

_COSTS = flags.DEFINE_bool("costs", False, "compare the methods' updates")
_STATISTICS = flags.DEFINE_integer(
  "statistics", 0, "compare token statistics of so many tokens"
)
_SLOTS = flags.DEFINE_bool("slots", False, "compare ways of decoding")
_ROOFLINE = flags.DEFINE_bool("roofline", False, "compare with the machine")
_PEERS = flags.DEFINE_bool("peers", False, "compare with other trainers")
_TRL = flags.DEFINE_string("trl_python", "", "interpreter that has trl")
_TUNIX = flags.DEFINE_string("tunix_python", "", "interpreter that has tunix")
_METHODS = flags.DEFINE_list("methods", [], "config names; none: all of them")


def main(argv: Sequence[str]) -> None:
  del argv
  if _COSTS.value:
    cost_table(chosen_methods(_METHODS.value), _REPEATS.value)
    return
  if _STATISTICS.value:
    statistics_table(_STATISTICS.value, _REPEATS.value)
  if _SLOTS.value:
    slots_table(_REPEATS.value)
  if _ROOFLINE.value:
    roofline_table(_REPEATS.value)
  if _PEERS.value:
    peers = {"TRL": _TRL.value, "Tunix": _TUNIX.value}
    peers_table(peers, _REPEATS.value)
  if _STATISTICS.value or _SLOTS.value or _ROOFLINE.value or _PEERS.value:
    return
  config, repeats = _CONFIG.value, _REPEATS.value
  run = build(config)
  prompts, _ = next(run.data.stream)
  params = jax.tree.map(jnp.copy, run.state.params)
  keys = iter(jax.random.split(jax.random.key(0), 10_000))
  num_rows = config.rollout.num_prompts * config.rollout.group_size
  prompt, response = (
    config.rollout.prompt_length,
    config.rollout.response_length,
  )

  rollout = run.functions.generate(params, prompts, next(keys))
  decoding = median_seconds(
    lambda: run.functions.generate(params, prompts, next(keys)), repeats
  )
  batch = random_batch(run)
  update = timed_update(run, batch, compiled_update(run, batch))
  updating = statistics.median(update() for _ in range(repeats))
  peak, _ = matmul_peak(repeats)

  sizes, num_prompts = run.sizes, config.rollout.num_prompts
  prefill_flops = forward_flops(
    sizes, num_prompts * prompt, prompt / 2, predicted=0
  )
  response_flops = forward_flops(
    sizes,
    num_rows * (response - 1),
    prompt + response / 2,
    predicted=num_rows * response,
  )
  decode_flops = prefill_flops + response_flops
  update_flops = 3 * decode_flops * config.training.num_epochs
  tokens = float(rollout.response_mask.sum())
  print(
    f"{jax.device_count()} x {jax.devices()[0].device_kind}, {num_rows} rows"
    f" of {prompt} + {response} tokens, medians of {repeats}"
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


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  app.run(main)
