"""Compare two implementations that scale with their plain counterparts.

  token statistics  by chunks of the vocabulary, or with all logits in memory
  decoding          in slots that are refilled, or in static batches

Both are timed in turn (A B A B) in the same run.
"""

from collections.abc import Callable
import functools
import os
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

from entrojax.entropy.statistics import (
  COLLISION,
  MAX_PROBABILITY,
  VARENTROPY,
  log_prob_at,
  top_log_probs,
  top_p_entropy,
)
from entrojax.entropy.token_stats import (
  log_prob_and_entropy,
  token_stats,
  unembed,
)
from entrojax.models import DecoderConfig, decoder
from entrojax.rollouts.sampler import Sampling, generate
from entrojax.rollouts.slots import generate_in_slots
from entrojax.types import Array, Prompts
from experiments import hlo

# the shape of Qwen2.5-0.5B's unembedding
VOCABULARY, WIDTH = 151_936, 896

# what a member of the objective chain may ask for besides
STATISTICS = (
  *(MAX_PROBABILITY, VARENTROPY, COLLISION),
  *(top_p_entropy(0.9), log_prob_at(0.6), top_log_probs(8)),
)

# a model of 992,640 parameters
SMALL = DecoderConfig(
  vocab_size=64,
  hidden_size=128,
  intermediate_size=512,
  num_hidden_layers=4,
  num_attention_heads=4,
  num_key_value_heads=2,
  head_dim=32,
)


def seconds_in_turn(
  first: Callable[[], Any], second: Callable[[], Any], repeats: int
) -> tuple[float, float, float]:
  """Time two functions in turn.

  Returns:
    The median seconds of the first and of the second, and the median over turns
    of the ratio first / second.
  """
  runs: list[tuple[float, float]] = []
  for _ in range(repeats):
    pair = []
    for function in (first, second):
      start = time.perf_counter()
      jax.block_until_ready(function())
      pair.append(time.perf_counter() - start)
    runs.append((pair[0], pair[1]))
  ratio = statistics.median(a / b for a, b in runs)
  a, b = (statistics.median(times) for times in zip(*runs, strict=True))
  return a, b, ratio


def naive_stats(hidden: Array, table: Array, targets: Array):
  """Compute the same as token_stats, with all logits in memory."""
  return log_prob_and_entropy(unembed(hidden, table), targets)


def statistics_graph(
  stats: Callable[..., tuple[Array, ...]],
  num_tokens: int,
  *,
  dtype: str = "float32",
  device: Any = None,
) -> tuple[Any, int]:
  """Compile token statistics, forward and backward, from shapes alone.

  Args:
    stats: token_stats or naive_stats, maybe with further statistics.
    num_tokens: number of tokens whose statistics are computed.
    dtype: type of the hidden states; the table is float32.
    device: the device to compile for, which this machine need not have. None
      compiles for this machine's default device.

  Returns:
    The compiled function (hidden, table, targets, weights) -> (value, gradients
    with respect to hidden and table), and its FLOPs.
  """
  place = device and jax.sharding.SingleDeviceSharding(device)

  def shape(kind, *sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.dtype(kind), sharding=place)

  def total(hidden, table, targets, weights):
    values = stats(hidden, table, targets)
    # the largest log-probs, [1, N, k], count with the weight of their token
    values = [jnp.sum(x.reshape(1, num_tokens, -1), axis=-1) for x in values]
    return sum(jnp.sum(w * x) for w, x in zip(weights, values, strict=True))

  inputs = (
    shape(dtype, 1, num_tokens, WIDTH),
    shape("float32", VOCABULARY, WIDTH),
    shape("int32", 1, num_tokens),
  )
  num_values = len(jax.eval_shape(stats, *inputs))
  traced = jax.jit(jax.value_and_grad(total, argnums=(0, 1))).trace(
    *inputs, shape("float32", num_values, 1, num_tokens)
  )
  platforms = device and (device.platform,)
  lowered = traced.lower(lowering_platforms=platforms)
  return lowered.compile(), hlo.flops(traced.jaxpr).total


def statistics_memory(
  num_tokens: int, *, dtype: str = "float32", device: Any = None
) -> None:
  """Print the memory of both implementations. They are compiled, not run.

  The last line is token_stats with all further statistics.
  """
  print(
    f"token statistics, {num_tokens} tokens in {dtype}, vocabulary "
    f"{VOCABULARY}, width {WIDTH}, forward and backward"
  )
  sizes = []
  for name, stats in (
    ("logits in memory", naive_stats),
    ("token_stats", token_stats),
    ("with all six", functools.partial(token_stats, statistics=STATISTICS)),
  ):
    graph, flops = statistics_graph(
      stats, num_tokens, dtype=dtype, device=device
    )
    sizes.append(graph.memory_analysis().temp_size_in_bytes)
    cycles = hlo.read(graph.as_text()).cycles
    print(
      f"  {name:16} {sizes[-1] / 1e9:6.2f} GB temporaries   "
      f"{flops / 1e12:.2f} TFLOP"
      + (f"   {cycles / 1e6:.1f} M cycles, by the compiler" if cycles else "")
    )
  print(f"  memory: {sizes[0] / sizes[1]:.1f} times less")


def print_statistics(num_tokens: int, repeats: int) -> None:
  """Print memory and time of token_stats and of logits in memory, float32.

  Args:
    num_tokens: number of tokens to compile for. The functions are run with
      this number or, if their logits do not fit into memory, with half of it,
      a quarter of it, and so on.
    repeats: timed turns.
  """
  statistics_memory(num_tokens)
  pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  # naive_stats holds the logits about four times, which is most of its memory
  while num_tokens > 1 and 8 * 4 * num_tokens * VOCABULARY > pages:
    num_tokens //= 2
  keys = jax.random.split(jax.random.key(0), 4)
  arguments = (
    0.5 * jax.random.normal(keys[0], (1, num_tokens, WIDTH)),
    0.05 * jax.random.normal(keys[1], (VOCABULARY, WIDTH)),
    jax.random.randint(keys[2], (1, num_tokens), 0, VOCABULARY),
    jax.random.normal(keys[3], (2, 1, num_tokens)),
  )
  runs = [
    functools.partial(statistics_graph(stats, num_tokens)[0], *arguments)
    for stats in (naive_stats, token_stats)
  ]
  gradients = [jax.block_until_ready(run())[1] for run in runs]
  error = max(
    float(jnp.linalg.norm(a - b) / jnp.linalg.norm(a))
    for a, b in zip(*gradients, strict=True)
  )
  del gradients
  plain, chunked, ratio = seconds_in_turn(runs[0], runs[1], repeats)
  print(f"  {num_tokens} tokens, medians of {repeats}, in turn:")
  print(f"  logits in memory {plain:7.2f} s")
  print(f"  token_stats      {chunked:7.2f} s")
  print(
    f"  token_stats / logits in memory: {1 / ratio:.2f}; gradients differ by "
    f"{error:.1e} of their norm"
  )


def print_slots(
  repeats: int,
  *,
  num_slots: int = 64,
  num_prompts: int = 64,
  group_size: int = 8,
  response_length: int = 256,
) -> None:
  """Print tokens per second in slots and in static batches of as many rows.

  Response lengths are geometric with a mean of 1/8 of the limit, whatever the
  model's logits are: the sampler ends a response with the matching probability.

  Args:
    repeats: timed turns.
    num_slots: rows that are decoded at one time.
    num_prompts: number of prompts.
    group_size: responses to each prompt.
    response_length: the limit, in tokens.
  """
  model = decoder(SMALL)
  params = jax.jit(model.init)(jax.random.key(0))
  prompts = Prompts(
    tokens=jnp.full((num_prompts, 16), 3, jnp.int32),
    mask=jnp.ones((num_prompts, 16), jnp.float32),
    ids=jnp.arange(num_prompts, dtype=jnp.int32),
  )

  def ends_by_chance(key: Array, logits: Array) -> Array:
    end_key, token_key = jax.random.split(key)
    ends = jax.random.uniform(end_key) < 8 / response_length
    token = jax.random.randint(token_key, (), 2, logits.shape[0])
    return jnp.where(ends, 1, token)

  sampling = Sampling(
    group_size=group_size,
    response_length=response_length,
    eos_ids=(1,),
    pad_id=0,
    sampler=ends_by_chance,
  )
  whole = jax.jit(functools.partial(generate, model, sampling=sampling))
  refilled = jax.jit(
    functools.partial(
      generate_in_slots, model, sampling=sampling, num_slots=num_slots
    )
  )
  size = num_slots // group_size
  parts = [
    jax.tree.map(lambda x, i=i: x[i : i + size], prompts)
    for i in range(0, num_prompts, size)
  ]
  key = jax.random.key(1)

  def batches():
    return [whole(params, part, key).response_mask for part in parts]

  def slots():
    return refilled(params, prompts, key).response_mask

  tokens = float(jnp.sum(slots()))
  same = tokens == sum(float(jnp.sum(mask)) for mask in batches())
  static, dynamic, ratio = seconds_in_turn(batches, slots, repeats)
  print(
    f"decoding {num_prompts * group_size} responses of up to {response_length} "
    f"tokens, {tokens / num_prompts / group_size:.1f} on average, {num_slots} "
    f"rows at a time, medians of {repeats}"
  )
  print(f"  static batches    {tokens / static:9.0f} tokens/s")
  print(f"  slots             {tokens / dynamic:9.0f} tokens/s")
  print(
    f"  slots / batches: {ratio:.2f}; "
    f"{'the same' if same else 'NOT the same'} number of tokens"
  )
