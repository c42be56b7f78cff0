"""Sample with continuous batching: a slot that is free takes the next sample.

`sampler.generate` decodes all rows until the longest has ended. Here, S slots
work through a queue of Q * G samples. After every few decoding steps, each slot
whose sample has ended takes the next sample from the queue. All prompts are
read before the loop. Shapes are static, and everything stays in one graph.

A slot is a row of the cache. It has P places for the prompt and a ring buffer
of T places for the response. At step t all slots write to place t mod T of the
ring, whenever their own samples began. The positions stored beside the keys
determine which tokens a query may attend to. A sample has at most T tokens, so
the ring never overwrites a token that is still needed. The randomness of a
sample does not depend on the slot that decodes it, nor on when it is decoded.

On a mesh, each device has its own queue, its own prompts and its own slots.
Shape letters: Q prompts, G samples of each, N devices that split rows,
B = Q G samples, b = B / N samples and s = S / N slots per device.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from entrojax.entropy.token_stats import log_prob_and_entropy, unembed
from entrojax.rollouts.sampler import (
  ReadPrompts,
  Sampling,
  all_positions,
  generate,
  read_prompts,
  row_keys,
)
from entrojax.types import Array, Cache, Model, Params, Prompts, Rollout


class Slots(NamedTuple):
  """The state of the decoding loop."""

  clock: Array  # i32[], steps so far
  taken: Array  # i32[N], samples that have had a slot
  sample: Array  # i32[N, s], number in the queue; b = the slot is free
  step: Array  # i32[N, s], tokens of the sample so far
  hidden: Array  # f[S, D], of the last token read
  position: Array  # i32[S], of the next token
  cache: Cache
  outputs: tuple[Array, ...]  # [N, b, T]: token, mask, log-prob, entropy

  @property
  def busy(self) -> Array:
    """bool[N, s]: the slot has a sample that has not ended."""
    return self.sample < self.outputs[0].shape[1]

  @property
  def waiting(self) -> Array:
    """bool[N]: the device's queue holds samples that have had no slot."""
    return self.taken < self.outputs[0].shape[1]


class Inputs(NamedTuple):
  """What the decoding loop reads and never changes."""

  model: Model
  params: Params  # in the layout for decoding
  read: ReadPrompts
  keys: Array  # [B], of the samples
  prompt_length: int  # P
  sampling: Sampling


def generate_in_slots(
  model: Model,
  params: Params,
  prompts: Prompts,
  key: Array,
  *,
  sampling: Sampling,
  num_slots: int,
  refill_every: int = 8,
  num_shards: int = 1,
) -> Rollout:
  """Sample as `sampler.generate` does, decoding `num_slots` rows at a time.

  Args:
    model: the policy.
    params: the policy's parameters.
    prompts: Q prompts.
    key: the key from which the key of each sample is derived.
    sampling: the number and length of responses, and how tokens are drawn.
    num_slots: S, rows that are decoded at one time; a multiple of num_shards.
      With a slot for every sample, this function is `sampler.generate`.
    refill_every: the number of decoding steps between two refills.
    num_shards: N, devices that split prompts and rows.
  """
  num_prompts, prompt_length = prompts.tokens.shape
  if num_slots >= num_prompts * sampling.group_size:  # nothing to refill
    return generate(model, params, prompts, key, sampling=sampling)
  keys = row_keys(key, prompts.ids, sampling.group_size)
  with jax.named_scope("prefill"):
    read = read_prompts(model, params, prompts)
  params = model.for_decoding(params)
  inputs = Inputs(model, params, read, keys, prompt_length, sampling)
  slots = jax.lax.while_loop(
    lambda s: jnp.any(s.busy) | jnp.any(s.waiting),
    functools.partial(_refill_and_step, inputs, refill_every),
    free_slots(inputs, num_slots, num_shards, num_prompts // num_shards),
  )
  return _rollout(slots, prompts, sampling)


def free_slots(
  inputs: Inputs, num_slots: int, num_shards: int, num_prompts: int
) -> Slots:
  """Return the state before the first step: every slot is free.

  Args:
    inputs: what the loop reads.
    num_slots: S, slots of all devices.
    num_shards: N, devices.
    num_prompts: Q / N, prompts of one device.
  """
  sampling, hidden = inputs.sampling, inputs.read.hidden
  queue = num_prompts * sampling.group_size
  shape = (num_shards, num_slots // num_shards)
  zeros = jnp.zeros((num_shards, queue, sampling.response_length), jnp.float32)
  tokens = jnp.full(zeros.shape, sampling.pad_id, jnp.int32)
  return Slots(
    clock=jnp.int32(0),
    taken=jnp.zeros(num_shards, jnp.int32),
    sample=jnp.full(shape, queue, jnp.int32),
    step=jnp.zeros(shape, jnp.int32),
    hidden=jnp.zeros((num_slots, hidden.shape[1]), hidden.dtype),
    position=jnp.zeros(num_slots, jnp.int32),
    cache=inputs.model.init_cache(
      num_slots, inputs.prompt_length + sampling.response_length
    ),
    outputs=(tokens, zeros, zeros, zeros),
  )


def _refill_and_step(inputs: Inputs, refill_every: int, slots: Slots) -> Slots:
  """Refill free slots, then step until it is time to refill again."""
  can_refill = jnp.any(~slots.busy & slots.waiting[:, None])
  slots = jax.lax.cond(
    can_refill, functools.partial(refill, inputs), lambda slots: slots, slots
  )
  end = slots.clock + refill_every
  return jax.lax.while_loop(
    lambda s: (s.clock < end) & jnp.any(s.busy),
    functools.partial(step, inputs),
    slots,
  )


@jax.named_scope("refill")
def refill(inputs: Inputs, slots: Slots) -> Slots:
  """Give the next samples of the queue to the free slots."""
  read, queue = inputs.read, slots.outputs[0].shape[1]
  free = ~slots.busy
  number = slots.taken[:, None] + jnp.cumsum(free, axis=1) - 1
  takes = free & (number < queue)
  sample = jnp.where(takes, number, slots.sample)
  prompt = jnp.minimum(sample, queue - 1) // inputs.sampling.group_size
  rows = takes.reshape(-1)
  of_prompt = lambda x: _take(x, prompt).reshape(rows.size, *x.shape[1:])
  return slots._replace(
    taken=slots.taken + jnp.sum(takes, axis=1),
    sample=sample,
    step=jnp.where(takes, 0, slots.step),
    hidden=jnp.where(rows[:, None], of_prompt(read.hidden), slots.hidden),
    position=jnp.where(rows, of_prompt(read.position), slots.position),
    cache=inputs.model.refill_cache(slots.cache, read.cache, prompt, takes),
  )


def step(inputs: Inputs, slots: Slots) -> Slots:
  """Draw a token for every slot, and let the model read it."""
  model, params, sampling = inputs.model, inputs.params, inputs.sampling
  queue, shape = slots.outputs[0].shape[1], slots.sample.shape
  with jax.named_scope("unembed"):
    logits = unembed(slots.hidden, model.unembedding(params))
  with jax.named_scope("draw"):
    logits = logits / sampling.temperature
    sample_keys = _take(inputs.keys, jnp.minimum(slots.sample, queue - 1))
    token_keys = jax.vmap(jax.random.fold_in)(
      sample_keys.reshape(-1), slots.step.reshape(-1)
    )
    tokens = jax.vmap(sampling.sampler)(token_keys, logits).astype(jnp.int32)
    log_probs, entropy = log_prob_and_entropy(logits, tokens)
  row = (tokens, jnp.ones_like(log_probs), log_probs, entropy)
  outputs = tuple(
    _put(output, slots.sample, slots.step, value.reshape(shape))
    for output, value in zip(slots.outputs, row, strict=True)
  )
  rows = slots.busy.reshape(-1)
  ring_index = inputs.prompt_length + slots.clock % sampling.response_length
  with jax.named_scope("decode_step"):
    hidden, cache = model.apply(
      params,
      jnp.where(rows, tokens, sampling.pad_id)[:, None],
      jnp.where(rows, slots.position, -1)[:, None],
      dataclasses.replace(slots.cache, index=ring_index),
      in_place=True,
    )
  ended = jnp.isin(tokens, jnp.asarray(sampling.eos_ids)).reshape(shape)
  ended |= slots.step + 1 == sampling.response_length
  return slots._replace(
    clock=slots.clock + 1,
    sample=jnp.where(ended, queue, slots.sample),
    step=slots.step + 1,
    hidden=hidden[:, 0],
    position=slots.position + 1,
    cache=cache,
    outputs=outputs,
  )


def _rollout(slots: Slots, prompts: Prompts, sampling: Sampling) -> Rollout:
  """Return the samples in the order of the queue, as a rollout."""
  response, mask, log_probs, entropy = (
    x.reshape(-1, sampling.response_length) for x in slots.outputs
  )
  is_eos = jnp.isin(response, jnp.asarray(sampling.eos_ids)) & (mask > 0)
  prompt_tokens = jnp.repeat(prompts.tokens, sampling.group_size, axis=0)
  return Rollout(
    tokens=jnp.concatenate([prompt_tokens, response], axis=1),
    positions=all_positions(prompts, mask, sampling.group_size),
    response_mask=mask,
    log_probs=log_probs,
    entropy=entropy,
    truncated=1.0 - jnp.any(is_eos, axis=1).astype(jnp.float32),
  )


def _take(x: Array, numbers: Array) -> Array:
  """Take rows of each device's own part of an array.

  Args:
    x: [N * m, ...], whose part number n belongs to device n.
    numbers: i32[N, s], rows of each part.

  Returns:
    [N, s, ...]
  """
  parts = x.reshape(numbers.shape[0], -1, *x.shape[1:])
  return jax.vmap(lambda part, rows: part[rows])(parts, numbers)


def _put(output: Array, sample: Array, step: Array, value: Array) -> Array:
  """Write value [N, s] into output [N, b, T]; sample = b writes nothing."""

  def put(output, sample, step, value):
    return output.at[sample, step].set(value, mode="drop")

  return jax.vmap(put)(output, sample, step, value)
