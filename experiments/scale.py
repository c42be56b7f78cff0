"""What scales: token statistics without logits, decoding in slots.

Both are compared with the plain way in turn, A B A B, in the same run.
"""

from collections.abc import Callable
import functools
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

from entrojax.models import DecoderConfig, decoder
from entrojax.rollout import generate
from entrojax.slots import generate_in_slots
from entrojax.token_stats import log_prob_and_entropy, token_stats, unembed
from entrojax.types import Array, Prompts

# Qwen2.5-0.5B's unembedding
VOCABULARY, WIDTH = 151_936, 896

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
  """Returns medians of both, and of the ratios first / second of each turn."""
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


def statistics_table(num_tokens: int, repeats: int) -> None:
  """Prints memory and time of token_stats against logits in memory.

  Forward and backward, gradients to hidden states and table, float32.
  """
  keys = jax.random.split(jax.random.key(0), 4)
  hidden = 0.5 * jax.random.normal(keys[0], (1, num_tokens, WIDTH))
  table = 0.05 * jax.random.normal(keys[1], (VOCABULARY, WIDTH))
  targets = jax.random.randint(keys[2], (1, num_tokens), 0, VOCABULARY)
  weights = jax.random.normal(keys[3], (2, 1, num_tokens))

  def naive(hidden: Array, table: Array, targets: Array):
    return log_prob_and_entropy(unembed(hidden, table), targets)

  def compiled(stats):
    def total(hidden, table):
      found = stats(hidden, table, targets)
      return sum(jnp.sum(w * x) for w, x in zip(weights, found, strict=True))

    graph = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    return graph.lower(hidden, table).compile()

  graphs = [compiled(stats) for stats in (naive, token_stats)]
  runs = [functools.partial(graph, hidden, table) for graph in graphs]
  gradients = [jax.block_until_ready(run())[1] for run in runs]
  error = max(
    float(jnp.linalg.norm(a - b) / jnp.linalg.norm(a))
    for a, b in zip(*gradients, strict=True)
  )
  del gradients
  plain, chunked, ratio = seconds_in_turn(runs[0], runs[1], repeats)
  memory = [g.memory_analysis().temp_size_in_bytes / 1e9 for g in graphs]
  print(
    f"token statistics, {num_tokens} tokens, vocabulary {VOCABULARY}, width "
    f"{WIDTH}, forward and backward, medians of {repeats}"
  )
  print(f"  logits in memory  {plain:7.2f} s   {memory[0]:6.2f} GB temporaries")
  print(f"  token_stats       {chunked:7.2f} s   {memory[1]:6.2f} GB")
  print(
    f"  plain / chunked: time {ratio:.2f}, memory {memory[0] / memory[1]:.1f}; "
    f"gradients differ by {error:.1e} of their norm"
  )


def slots_table(
  repeats: int,
  *,
  num_slots: int = 64,
  num_prompts: int = 64,
  group_size: int = 8,
  response_length: int = 256,
) -> None:
  """Prints tokens per second of slots against batches of as many rows.

  Response lengths are geometric with a mean of 1/8 of the limit, whatever the
  model says: the sampler ends a response with that probability.
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

  settings: dict[str, Any] = {
    "group_size": group_size,
    "response_length": response_length,
    "eos_ids": (1,),
    "pad_id": 0,
    "sampler": ends_by_chance,
  }
  whole = jax.jit(functools.partial(generate, model, **settings))
  refilled = jax.jit(
    functools.partial(generate_in_slots, model, **settings, num_slots=num_slots)
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
