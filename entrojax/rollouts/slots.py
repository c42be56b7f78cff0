"""Rollouts in slots: a row that has ended makes room for the next sample.

`rollout.generate` decodes all rows until the longest has ended. Here S slots
work off a queue of Q * G samples: after every few steps, slots whose sample
has ended take the next one, whose prompt has been read before the loop. Shapes
are static and nothing leaves the graph.

A cache row is P places for the prompt, and a ring of T for the response: all
slots write at the same place of the ring, wherever their own samples began, and
the positions beside the keys say what a token may see. A sample has at most T
tokens, so the ring never overwrites what it still needs. Which slot decodes a
sample, and when, changes no key of its randomness.

On a mesh each device has its own queue, its own prompts and its own slots.
Shape letters: Q prompts, G samples of each, N devices that split rows, B = Q G
samples, b = B / N, s = S / N slots of a device.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from entrojax.entropy.token_stats import log_prob_and_entropy, unembed
from entrojax.rollouts.sampler import (
  Sampler,
  all_positions,
  prompt_positions,
  row_keys,
)
from entrojax.types import Array, Cache, Model, Params, Prompts, Rollout


class _Slots(NamedTuple):
  """The state of the decoding loop."""

  clock: Array  # i32[], steps made
  taken: Array  # i32[N], samples that have had a slot
  sample: Array  # i32[N, s], number in the queue; b = none
  step: Array  # i32[N, s], tokens that the sample has
  hidden: Array  # f[S, D], of the last token read
  position: Array  # i32[S], of the next token
  cache: Cache
  outputs: tuple[Array, ...]  # [N, b, T]: token, mask, log-prob, entropy

  @property
  def busy(self) -> Array:
    """bool[N, s], has a sample that has not ended."""
    return self.sample < self.outputs[0].shape[1]


def generate_in_slots(
  model: Model,
  params: Params,
  prompts: Prompts,
  key: Array,
  *,
  group_size: int,
  response_length: int,
  eos_ids: tuple[int, ...],
  pad_id: int,
  temperature: float = 1.0,
  sampler: Sampler,
  num_slots: int,
  refill_every: int = 8,
  num_shards: int = 1,
) -> Rollout:
  """Returns what `rollout.generate` returns, decoded `num_slots` at a time.

  Args:
    model: the policy.
    params: its parameters.
    prompts: Q prompts.
    key: consumed.
    group_size: G.
    response_length: T, the most tokens a response may have, EOS included.
    eos_ids: tokens that end a response.
    pad_id: what fills a row after its end.
    temperature: divides the logits, > 0.
    sampler: draws a token.
    num_slots: S, rows that are decoded at one time; a multiple of num_shards.
    refill_every: steps between two looks for slots that have ended.
    num_shards: N, devices that split prompts and rows.
  """
  num_prompts, prompt_length = prompts.tokens.shape
  num_slots = min(num_slots, num_prompts * group_size)
  queue = num_prompts // num_shards * group_size
  shape = (num_shards, num_slots // num_shards)
  keys = row_keys(key, prompts.ids, group_size)
  read = _read(model, params, prompts)
  params = model.for_decoding(params)

  def refill(slots: _Slots) -> _Slots:
    """Gives the next samples of the queue to slots without one."""
    free = ~slots.busy
    number = slots.taken[:, None] + jnp.cumsum(free, axis=1) - 1
    takes = free & (number < queue)
    sample = jnp.where(takes, number, slots.sample)
    prompt = jnp.minimum(sample, queue - 1) // group_size
    rows = takes.reshape(-1)
    chosen = lambda x: _take(x, prompt).reshape(num_slots, *x.shape[1:])
    return slots._replace(
      taken=slots.taken + jnp.sum(takes, axis=1),
      sample=sample,
      step=jnp.where(takes, 0, slots.step),
      hidden=jnp.where(rows[:, None], chosen(read.hidden), slots.hidden),
      position=jnp.where(rows, chosen(read.position), slots.position),
      cache=model.refill_cache(slots.cache, read.cache, prompt, takes),
    )

  def step(slots: _Slots) -> _Slots:
    """Draws a token for every slot, and reads it."""
    logits = unembed(slots.hidden, model.unembedding(params)) / temperature
    sample_keys = _take(keys, jnp.minimum(slots.sample, queue - 1)).reshape(-1)
    token_keys = jax.vmap(jax.random.fold_in)(
      sample_keys, slots.step.reshape(-1)
    )
    drawn = jax.vmap(sampler)(token_keys, logits).astype(jnp.int32)
    log_probs, entropy = log_prob_and_entropy(logits, drawn)
    busy = slots.busy
    row = (drawn, jnp.ones_like(log_probs), log_probs, entropy)
    outputs = tuple(
      _put(output, slots.sample, slots.step, value.reshape(shape))
      for output, value in zip(slots.outputs, row, strict=True)
    )
    rows = busy.reshape(-1)
    position = jnp.where(rows, slots.position, -1)
    at = prompt_length + slots.clock % response_length
    hidden, cache = model.apply(
      params,
      jnp.where(rows, drawn, pad_id)[:, None],
      position[:, None],
      dataclasses.replace(slots.cache, index=at),
      in_place=True,
    )
    ended = jnp.isin(drawn, jnp.asarray(eos_ids)).reshape(shape)
    ended |= slots.step + 1 == response_length
    return slots._replace(
      clock=slots.clock + 1,
      sample=jnp.where(ended, queue, slots.sample),
      step=slots.step + 1,
      hidden=hidden[:, 0],
      position=slots.position + 1,
      cache=cache,
      outputs=outputs,
    )

  def steps(slots: _Slots) -> _Slots:
    """Refills, then steps until it is time to refill again."""
    waiting = jnp.any(~slots.busy & (slots.taken < queue)[:, None])
    slots = jax.lax.cond(waiting, refill, lambda slots: slots, slots)
    end = slots.clock + refill_every
    return jax.lax.while_loop(
      lambda s: (s.clock < end) & jnp.any(s.busy), step, slots
    )

  zeros = jnp.zeros((num_shards, queue, response_length), jnp.float32)
  slots = _Slots(
    clock=jnp.int32(0),
    taken=jnp.zeros(num_shards, jnp.int32),
    sample=jnp.full(shape, queue, jnp.int32),
    step=jnp.zeros(shape, jnp.int32),
    hidden=jnp.zeros((num_slots, read.hidden.shape[1]), read.hidden.dtype),
    position=jnp.zeros(num_slots, jnp.int32),
    cache=model.init_cache(num_slots, prompt_length + response_length),
    outputs=(jnp.full(zeros.shape, pad_id, jnp.int32), zeros, zeros, zeros),
  )
  slots = jax.lax.while_loop(
    lambda s: jnp.any(s.busy) | jnp.any(s.taken < queue), steps, slots
  )
  response, mask, log_probs, entropy = (
    x.reshape(-1, response_length) for x in slots.outputs
  )
  has_ended = jnp.isin(response, jnp.asarray(eos_ids)) & (mask > 0)
  return Rollout(
    tokens=jnp.concatenate(
      [jnp.repeat(prompts.tokens, group_size, axis=0), response], axis=1
    ),
    positions=all_positions(prompts, mask, group_size),
    response_mask=mask,
    log_probs=log_probs,
    entropy=entropy,
    truncated=1.0 - jnp.any(has_ended, axis=1).astype(jnp.float32),
  )


class _Read(NamedTuple):
  """The prompts, read."""

  hidden: Array  # f[Q, D], of the last token
  position: Array  # i32[Q], of the next token
  cache: Cache  # of P places


def _read(model: Model, params: Params, prompts: Prompts) -> _Read:
  cache = model.init_cache(*prompts.tokens.shape)
  positions = prompt_positions(prompts.mask)
  hidden, cache = model.apply(
    params, prompts.tokens, positions, cache, in_place=True
  )
  return _Read(hidden[:, -1], positions[:, -1] + 1, cache)


def _take(x: Array, numbers: Array) -> Array:
  """Returns [N, s, ...]: of each device's part of x [N * m, ...] some rows."""
  parts = x.reshape(numbers.shape[0], -1, *x.shape[1:])
  return jax.vmap(lambda part, rows: part[rows])(parts, numbers)


def _put(output: Array, sample: Array, step: Array, value: Array) -> Array:
  """Writes value [N, s] into output [N, b, T]; sample = b writes nothing."""

  def put(output, sample, step, value):
    return output.at[sample, step].set(value, mode="drop")

  return jax.vmap(put)(output, sample, step, value)
