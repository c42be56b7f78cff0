"""The sampler: G responses to each of Q prompts, as one graph to be jitted.

The graph has static shapes. It reads each prompt once (the prefill). The
prompt's cache is shared by its G samples, or copied for each of them if the
prompts are short. A while_loop then decodes one token per row and step. A row
ends with an EOS or after T tokens, and reads padding until the loop ends, when
every row has ended. (slots.py fills ended rows with the next samples instead.)

The randomness of a row depends only on the key, on its prompt's id and on its
number in the group. It does not depend on the rest of the batch.

Log-probs and entropies refer to the whole distribution at the temperature, even
if top_k or top_p restrict the samples.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from entrojax.entropy.token_stats import log_prob_and_entropy, unembed
from entrojax.types import Array, Cache, Model, Params, Prompts, Rollout

# (params, Q prompts, key) -> G responses to each prompt
Generate = Callable[[Params, Prompts, Array], Rollout]
# (key, logits f32[V] at the sampling temperature) -> i32[], the sampled token
Sampler = Callable[[Array, Array], Array]
# prompts of fewer places are copied in front of each sample
_MIN_KEPT_PROMPT = 64


class Sampling(NamedTuple):
  """The number and length of responses, and how tokens are drawn."""

  group_size: int  # G, responses to each prompt
  response_length: int  # T, the most tokens of a response, EOS included
  eos_ids: tuple[int, ...]  # tokens that end a response
  pad_id: int  # fills a row after its end
  sampler: Sampler  # draws a token
  temperature: float = 1.0  # divides the logits, > 0


@functools.cache  # equal settings are one function, and so one compiled graph
def make_sampler(*, top_k: int = 0, top_p: float = 1.0) -> Sampler:
  """Build a function that draws one token, by default from the policy itself.

  Every other setting makes the samples off-policy. Log-probs always refer to
  the whole distribution, because the update differentiates those.

  Args:
    top_k: keep the k most probable tokens; 0 = all.
    top_p: keep the smallest set of most probable tokens whose probabilities
      reach top_p, 0 < top_p <= 1 (arXiv 1904.09751).
  """
  if top_k < 0:
    raise ValueError(f"top_k must not be negative, got {top_k}")
  if not 0 < top_p <= 1:
    raise ValueError(f"top_p must lie in (0, 1], got {top_p}")

  def sample(key, logits):
    if top_k and top_k < logits.shape[-1]:
      kth = jax.lax.top_k(logits, top_k)[0][-1]
      logits = jnp.where(logits < kth, -jnp.inf, logits)
    if top_p < 1:
      descending = jnp.sort(logits, descending=True)
      probabilities = jax.nn.softmax(descending)
      before = jnp.cumsum(probabilities) - probabilities
      last = jnp.sum(before < top_p) - 1
      logits = jnp.where(logits < descending[last], -jnp.inf, logits)
    return _categorical(key, logits)

  return sample


def _categorical(key: Array, logits: Array) -> Array:
  """Draw a token as jax.random.categorical does: argmax(logits + Gumbel).

  It exists because argmax compares pairs of value and index, which a CPU does
  one by one. For 16 rows of 49,152 tokens argmax takes 20 ms of one core, and
  this takes 4 ms.
  """
  noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
  tokens = jnp.arange(logits.shape[-1], dtype=jnp.int32)
  is_largest = noisy == jnp.max(noisy)
  return jnp.min(jnp.where(is_largest, tokens, logits.shape[-1] - 1))


def greedy(key: Array, logits: Array) -> Array:
  """Take the most probable token."""
  del key
  return jnp.argmax(logits)


class ReadPrompts(NamedTuple):
  """The prompts, read by the model."""

  hidden: Array  # f[Q, D], of the last token
  position: Array  # i32[Q], of the next token
  cache: Cache  # with P places, and perhaps room for a response


class Inputs(NamedTuple):
  """What the decoding loop reads and never changes."""

  model: Model
  params: Params  # in the layout for decoding
  keys: Array  # [B], of the rows
  sampling: Sampling


class State(NamedTuple):
  """The state of the decoding loop over B rows."""

  step: Array  # i32[], response tokens written so far
  hidden: Array  # f[B, D], of the last token read
  cache: Cache
  position: Array  # i32[B], of the next token
  done: Array  # bool[B]
  outputs: tuple[Array, ...]  # [T, B]: token, mask, log-prob, entropy


def generate(
  model: Model,
  params: Params,
  prompts: Prompts,
  key: Array,
  *,
  sampling: Sampling,
) -> Rollout:
  """Sample a group of responses to each prompt.

  Args:
    model: the policy.
    params: the policy's parameters.
    prompts: Q prompts.
    key: the key from which the key of each row is derived.
    sampling: the number and length of responses, and how tokens are drawn.
  """
  group_size, length = sampling.group_size, sampling.response_length
  is_kept = keeps_prompts(prompts.tokens.shape[1])
  with jax.named_scope("prefill"):
    read = read_prompts(model, params, prompts, 0 if is_kept else length)
    state = first_state(model, params, read, sampling, is_kept)
  keys = row_keys(key, prompts.ids, group_size)
  inputs = Inputs(model, model.for_decoding(params), keys, sampling)
  state = jax.lax.while_loop(
    lambda s: (s.step < length) & ~jnp.all(s.done),
    functools.partial(step, inputs),
    state,
  )
  response, mask, log_probs, entropy = (o.T for o in state.outputs)
  response = jnp.where(mask > 0, response, sampling.pad_id)
  return Rollout(
    tokens=jnp.concatenate(
      [jnp.repeat(prompts.tokens, group_size, axis=0), response], axis=1
    ),
    positions=all_positions(prompts, mask, group_size),
    response_mask=mask,
    log_probs=log_probs * mask,
    entropy=entropy * mask,
    truncated=1.0 - state.done.astype(jnp.float32),
  )


def keeps_prompts(prompt_length: int) -> bool:
  """Return whether prompts stay in the cache once for their whole group.

  Keys and values of short prompts are copied in front of each sample. A step
  then has one product over all keys of a row, which is faster than two.
  """
  return prompt_length >= _MIN_KEPT_PROMPT


def read_prompts(
  model: Model, params: Params, prompts: Prompts, room: int = 0
) -> ReadPrompts:
  """Read every prompt once.

  Args:
    model: the policy.
    params: the policy's parameters.
    prompts: Q prompts of P places.
    room: places of the cache behind each prompt.
  """
  num_prompts, prompt_length = prompts.tokens.shape
  cache = model.init_cache(num_prompts, prompt_length + room)
  positions = prompt_positions(prompts.mask)
  hidden, cache = model.apply(
    params, prompts.tokens, positions, cache, in_place=True
  )
  return ReadPrompts(hidden[:, -1], positions[:, -1] + 1, cache)


def first_state(
  model: Model,
  params: Params,
  read: ReadPrompts,
  sampling: Sampling,
  is_kept: bool,
) -> State:
  """Return the state of the loop before the first step.

  Args:
    model: the policy.
    params: the policy's parameters.
    read: the prompts.
    sampling: the number and length of responses, and how tokens are drawn.
    is_kept: all samples of a group share their prompt's cache. Otherwise each
      gets a copy of it, which must have room for the response.
  """
  group_size, length = sampling.group_size, sampling.response_length
  if is_kept:
    cache = model.continue_cache(read.cache, group_size, length)
  else:
    cache = model.share_cache(read.cache, group_size)
  share = lambda x: jnp.repeat(x, group_size, axis=0)
  num_rows = len(read.position) * group_size
  zeros = jnp.zeros((length, num_rows), jnp.float32)
  return State(
    step=jnp.int32(0),
    hidden=share(read.hidden),
    cache=cache,
    position=share(read.position),
    done=jnp.zeros(num_rows, bool),
    outputs=(zeros.astype(jnp.int32), zeros, zeros, zeros),
  )


def step(inputs: Inputs, state: State) -> State:
  """Draw a token for every row, and let the model read it."""
  model, params, sampling = inputs.model, inputs.params, inputs.sampling
  with jax.named_scope("unembed"):
    logits = unembed(state.hidden, model.unembedding(params))
  with jax.named_scope("draw"):
    logits = logits / sampling.temperature
    keys = jax.vmap(jax.random.fold_in, (0, None))(inputs.keys, state.step)
    tokens = jax.vmap(sampling.sampler)(keys, logits).astype(jnp.int32)
    log_probs, entropy = log_prob_and_entropy(logits, tokens)
  alive = ~state.done
  read = jnp.where(alive, tokens, sampling.pad_id)
  row = (read, alive.astype(jnp.float32), log_probs, entropy)
  outputs = tuple(
    jax.lax.dynamic_update_index_in_dim(o, r, state.step, 0)
    for o, r in zip(state.outputs, row, strict=True)
  )
  position = jnp.where(alive, state.position, -1)
  with jax.named_scope("decode_step"):
    hidden, cache = model.apply(
      params, read[:, None], position[:, None], state.cache, in_place=True
    )
  return State(
    step=state.step + 1,
    hidden=hidden[:, 0],
    cache=cache,
    position=state.position + 1,
    done=state.done | jnp.isin(tokens, jnp.asarray(sampling.eos_ids)),
    outputs=outputs,
  )


def prompt_positions(mask: Array) -> Array:
  """Return i32[Q, P]: 0, 1, ... from the first real token; padding is -1."""
  positions = jnp.cumsum(mask, axis=1).astype(jnp.int32) - 1
  return jnp.where(mask > 0, positions, -1)


def all_positions(prompts: Prompts, mask: Array, group_size: int) -> Array:
  """Return the positions i32[B, L] of prompts and responses.

  Args:
    prompts: Q prompts.
    mask: f32[B, T], 1 = a sampled token.
    group_size: G.
  """
  before = jnp.repeat(prompt_positions(prompts.mask), group_size, axis=0)
  after = before[:, -1:] + jnp.cumsum(mask, axis=1).astype(jnp.int32)
  return jnp.concatenate([before, jnp.where(mask > 0, after, -1)], axis=1)


def row_keys(key: Array, ids: Array, group_size: int) -> Array:
  """Return the keys [B] of the rows.

  A row's key depends on its prompt's id and on its number in the group.

  Args:
    key: the key of all rows.
    ids: i32[Q], the prompts' ids.
    group_size: G.
  """
  fold = jax.vmap(jax.random.fold_in, (None, 0))
  prompt_keys = fold(key, ids)
  samples = jnp.arange(group_size)
  return jax.vmap(lambda k: fold(k, samples))(prompt_keys).reshape(-1)
