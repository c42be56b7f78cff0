"""How fast the parts of a rollout step are, next to what the machine can do.

    python -m experiments.benchmark [--config=configs/grpo.py:demo]
    python -m experiments.benchmark --costs [--methods=kl_cov,steer]
    python -m experiments.benchmark --statistics=8192 --repeats=3
    python -m experiments.benchmark --slots --repeats=5

Prints medians: the matmul peak measured in the same run, decoding in tokens per
second, the update in seconds, and the model FLOPs per second of both as a share
of the peak. Model FLOPs count the multiplications that the mathematics asks
for, once: rematerialisation does not raise them. With --costs: what an update
of each method costs, as a ratio to plain GRPO's in the same run. With
--statistics: token statistics against logits in memory; with --slots: decoding
in refilled slots against static batches.
"""

from collections.abc import Callable, Sequence
import statistics
import time
from typing import Any

from absl import app, flags, logging
import jax
import jax.numpy as jnp
from ml_collections import config_flags

from entrojax.build import build
from entrojax.models import DecoderConfig
from experiments.costs import (
  compiled_update,
  cost_table,
  random_batch,
  timed_update,
)
from experiments.methods import chosen_methods
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
_METHODS = flags.DEFINE_list("methods", [], "config names; none: all of them")


def median_seconds(function: Callable[[], Any], repeats: int) -> float:
  """Returns the median time of a call, after one that compiles."""
  jax.block_until_ready(function())
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(function())
    times.append(time.perf_counter() - start)
  return statistics.median(times)


def matmul_peak(repeats: int, size: int = 2048) -> float:
  """Returns the measured float32 matmul rate, FLOP/s."""
  x = jax.random.normal(jax.random.key(0), (size, size))
  multiply = jax.jit(jnp.dot)
  return 2 * size**3 / median_seconds(lambda: multiply(x, x), repeats)


def forward_flops(
  sizes: DecoderConfig, tokens: float, seen: float, predicted: float
) -> float:
  """Returns the FLOPs of a forward pass.

  Args:
    sizes: of the decoder.
    tokens: read by the layers.
    seen: keys that a token attends to, on average.
    predicted: tokens whose logits are made.
  """
  head = sizes.head_dim
  query, key = (
    sizes.num_attention_heads * head,
    sizes.num_key_value_heads * head,
  )
  width, inner = sizes.hidden_size, sizes.intermediate_size
  weights = width * (2 * query + 2 * key) + 3 * width * inner
  attention = 2 * query * seen
  layers = sizes.num_hidden_layers * (weights + attention) * tokens
  return 2 * (layers + width * sizes.vocab_size * predicted)


def main(argv: Sequence[str]) -> None:
  del argv
  if _COSTS.value:
    cost_table(chosen_methods(_METHODS.value), _REPEATS.value)
    return
  if _STATISTICS.value or _SLOTS.value:
    if _STATISTICS.value:
      statistics_table(_STATISTICS.value, _REPEATS.value)
    if _SLOTS.value:
      slots_table(_REPEATS.value)
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
  peak = matmul_peak(repeats)

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
