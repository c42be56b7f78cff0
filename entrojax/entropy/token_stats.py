"""Log-probability of each sampled token, and entropy of its distribution.

Both are exact, over the whole vocabulary, in float32 nats. With logits z that
are already divided by the sampling temperature, p = softmax(z), sampled token y
and entropy H,

    log p_y = z_y - logsumexp(z)             d log p_y / dz_v = 1[v = y] - p_v
    H = logsumexp(z) - sum_v p_v z_v         dH / dz_v = -p_v (log p_v + H)

`log_prob_and_entropy` starts from such logits. `unembed` computes logits, not
yet divided, from hidden states. `token_stats` starts from hidden states and
divides by the temperature itself. If the logits are few, as with a small
vocabulary, and `statistics` is empty, it computes them all. Otherwise it loops
over chunks of the vocabulary, and its backward pass computes each chunk again,
so that memory holds [N, C] and never [N, V]. The same loop computes further
statistics (statistics.py). For each token and each chunk c, the forward pass
computes the logit z_y, if c holds y, and three numbers: the largest logit m_c,
e_c = sum exp(z - m_c) and w_c = sum exp(z - m_c) (z - m_c). With m = max m_c
and s_c = exp(m_c - m),

    logsumexp(z) - m = log sum_c s_c e_c
    sum_v p_v z_v - m = sum_c s_c (w_c + (m_c - m) e_c) / sum_c s_c e_c

Without further statistics these numbers are kept for all chunks, f32[P, N], and
joined at the end. Further statistics need more numbers. The loop therefore
joins each chunk's numbers to the sums so far, f32[N].

This package has no TPU kernel for this. With V = 151,936 in bfloat16, XLA
compiles the forward and backward passes as follows:

- v5e, 8,192 tokens of width 896: the logits of a chunk never leave VMEM. Of an
  estimated 104 M cycles, 68 M are products at their peak and 23 M are the sums
  of the forward pass.
- v5p, 20,480 tokens of width 3,584: logits pass through HBM. Of an estimated
  472 M cycles, 340 M are products and 23 M (5 %) are those sums.

A kernel could save the time of those sums, but no memory. If the sums are taken
around the largest logit of the preceding chunks, XLA computes them together
with the product, which took 12 % off on the v5e. That is 3 % of an update, and
was not worth a second code path.

Shape letters: N tokens, D width, V vocabulary, C a chunk of it, S its shards,
P parts: all chunks of all shards, or chunks that are joined.
"""

import functools
from typing import Any, NamedTuple

import chex
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp
from jax.sharding import Mesh

from entrojax.entropy.chunk_loop import (
  Inputs,
  Settings,
  chunk_size,
  first_row,
  join_chunks,
  map_chunks,
  on_mesh,
  product,
  read_chunk,
  reduce_chunks,
  shardings,
  sum_over_tokens,
  wide,
)
from entrojax.entropy.chunk_sums import (
  LEAST,
  chunk_sums,
  join_parts,
  join_sums,
)
from entrojax.entropy.formulas import Formula, Merged, formula
from entrojax.entropy.statistics import check_statistics
from entrojax.system.sharding import num_row_shards
from entrojax.types import Array, Statistic

# the checkpoint name of what rematerialisation should keep: 3 numbers per token
# and a few more for each further statistic
SAVED = "token_stats"

# If all logits are at most this part of a chunk, keeping them costs less than
# computing them twice.
_FEW = 1 / 16


def log_prob_and_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
  """Compute log softmax(logits)[target] and the entropy of softmax(logits).

  Args:
    logits: f[..., V], already divided by the temperature; -inf = a token that
      cannot be sampled.
    targets: i32[...], the sampled tokens.

  Returns:
    (log_probs f32[...], entropy f32[...]), nats.

  Raises:
    ValueError: the targets have another shape than logits[..., 0].
  """
  if jnp.shape(targets) != logits.shape[:-1]:
    raise ValueError(
      f"targets has shape {jnp.shape(targets)}; logits of shape "
      f"{logits.shape} need {logits.shape[:-1]}"
    )
  logits = logits.astype(wide(logits.dtype))
  # Centred logits, so that entropy is not a difference of two large numbers.
  logits -= jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
  # An impossible token has probability 0, and 0 times -inf would be NaN.
  logits = jnp.maximum(logits, LEAST)
  log_normaliser = jnp.log(jnp.sum(jnp.exp(logits), axis=-1))
  chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
  mean_logit = jax.lax.platform_dependent(
    logits, log_normaliser, cpu=_mean, default=_mean_in_one_pass
  )
  return chosen - log_normaliser, log_normaliser - mean_logit


def _mean(logits: Array, log_normaliser: Array) -> Array:
  """Compute the mean of logits under their softmax."""
  probabilities = jnp.exp(logits - log_normaliser[..., None])
  return jnp.sum(probabilities * logits, axis=-1)


def _mean_in_one_pass(logits: Array, log_normaliser: Array) -> Array:
  """Compute the same from sums that need no normaliser.

  An accelerator computes them in the pass over the logits that computes the
  normaliser.
  """
  del log_normaliser
  exponentials = jnp.exp(logits)
  weighted = jnp.sum(exponentials * logits, axis=-1)
  return weighted / jnp.sum(exponentials, axis=-1)


@jax.named_scope("unembed")
def unembed(hidden: Array, table: Array) -> Array:
  """Compute logits from hidden states.

  Args:
    hidden: f[..., D]; the product is computed in its type.
    table: f[V, D], the unembedding.

  Returns:
    f32[..., V].
  """
  return product("...d,vd->...v", hidden, table.astype(hidden.dtype))


@jax.named_scope("token_stats")
def token_stats(
  hidden: Array,
  table: Array,
  targets: Array,
  *,
  temperature: float = 1.0,
  statistics: tuple[Statistic, ...] = (),
  chunk_elements: int = 2**24,
  mesh: Mesh | None = None,
) -> tuple[Array, ...]:
  """Compute log-probabilities and entropies from hidden states.

  On a mesh each device computes the logits of its own tokens and its own shard
  of the vocabulary. Devices exchange 4 numbers per token, the rows of the table
  that are split over 'fsdp', and gradients.

  Args:
    hidden: f[B, T, D], the state that predicts each target.
    table: f[V, D], the unembedding.
    targets: i32[B, T], the sampled tokens.
    temperature: the sampling temperature, > 0.
    statistics: further statistics to compute; see statistics.py.
    chunk_elements: about how many logits exist at one time on a device; a third
      as many with further statistics, which so take no more memory than a pass
      without them. If all logits are far fewer, as with a small vocabulary,
      they are all kept.
    mesh: how rows and table are split, as in system/sharding.py; None: a single
      device.

  Returns:
    (log_probs f32[B, T], entropy f32[B, T]), nats, followed by the value of
    each of `statistics`, f32[B, T] or f32[B, T, k].

  Raises:
    ValueError: a statistic is unknown, or its k exceeds the vocabulary.
  """
  chex.assert_rank([hidden, table, targets], [3, 2, 2])
  chex.assert_equal_shape_prefix([hidden, targets], 2)
  check_statistics(statistics, table.shape[0])
  few = targets.size * table.shape[0] <= _FEW * chunk_elements
  if few and not statistics:
    return log_prob_and_entropy(unembed(hidden, table) / temperature, targets)
  if mesh is not None and hidden.shape[0] % num_row_shards(mesh):
    mesh = None  # rows cannot be split evenly, so the compiler decides
  if statistics:
    # They hold up to five arrays of the size of a chunk, and a pass without
    # them at least two.
    chunk_elements = -(-chunk_elements // 3)
  settings = Settings(temperature, chunk_elements, mesh, statistics)
  stats = _stats(
    settings, hidden.reshape(-1, hidden.shape[-1]), table, targets.reshape(-1)
  )
  return jax.tree.map(lambda x: x.reshape(*targets.shape, *x.shape[1:]), stats)


class _Softmax(NamedTuple):
  """Statistics from which the backward pass computes probabilities."""

  top: Array  # f32[N], the largest logit
  log_normaliser: Array  # f32[N], logsumexp(z) - top
  entropy: Array  # f32[N], nats


# -- values and gradients over all chunks and shards --------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _stats(settings: Settings, hidden: Array, table: Array, targets: Array):
  """Compute log-probs, entropies f32[N] and statistics of hidden f[N, D]."""
  return _forward(settings, hidden, table, targets)[0]


def _forward(settings: Settings, hidden: Array, table: Array, targets: Array):
  inputs = Inputs(hidden, table, jnp.arange(table.shape[0]), targets)
  formulas = _formulas(settings, table)
  sums = functools.partial(chunk_sums, formulas)
  if formulas:
    # Stacks of the sums of all chunks would need more memory than the chunks.
    join = functools.partial(join_sums, formulas)
    parts = join_chunks(settings, inputs, sums, join)
  else:
    parts = map_chunks(settings, inputs, sums)
  top, normaliser, weighted, further = join_parts(formulas, parts)
  mean_logit = weighted / normaliser
  log_normaliser = jnp.log(normaliser)
  entropy = log_normaliser - mean_logit
  target = jnp.sum(parts.chosen, axis=0)
  log_probs = target - top - log_normaliser
  merged = Merged(top, log_normaliser, entropy, target)
  reduce = functools.partial(reduce_chunks, settings, inputs)
  values, saved = [], []
  for each, sums_of_all in zip(formulas, further, strict=True):
    value, needed = each.finish(sums_of_all, merged, reduce)
    values.append(value)
    saved.append(needed)
  softmax = _Softmax(top, log_normaliser, entropy)
  softmax, saved = jax.tree.map(
    lambda x: checkpoint_name(x, SAVED), (softmax, saved)
  )
  outputs = (log_probs, entropy, *values)
  return outputs, (hidden, table, targets, softmax, saved)


def _backward(settings: Settings, residuals: Any, cotangents: Any):
  hidden, table, targets, softmax, saved = residuals
  inputs_spec, part_spec = shardings(settings.mesh, table)
  rows = inputs_spec.targets
  hidden_grad, table_grad = on_mesh(
    functools.partial(_chunk_gradients, settings),
    settings.mesh,
    in_specs=(inputs_spec, rows, rows, rows),
    out_specs=(part_spec, inputs_spec.table),
  )(
    Inputs(hidden, table, jnp.arange(table.shape[0]), targets),
    softmax,
    saved,
    cotangents,
  )
  return jnp.sum(hidden_grad, axis=0).astype(hidden.dtype), table_grad, None


_stats.defvjp(_forward, _backward)


def _formulas(settings: Settings, table: Array) -> list[Formula]:
  """Return the formulas of the statistics that were asked for."""
  return [
    formula(statistic, settings.temperature, table.shape[0])
    for statistic in settings.statistics
  ]


def _chunk_gradients(
  settings: Settings,
  inputs: Inputs,
  softmax: _Softmax,
  saved: list[Any],
  cotangents: tuple[Array, ...],
):
  """Compute the gradients of hidden states and of the table.

  Args:
    settings: static.
    inputs: the part of this device.
    softmax: the statistics of the softmax of its tokens.
    saved: what each formula needs.
    cotangents: of log-probs, entropies and each further statistic.

  Returns:
    f[1, N, D], the contribution of this shard of the table to the gradient of
    the hidden states.
    f[V, D], the gradient of the table.
  """
  hidden, table, _, _ = inputs
  log_prob_grad, entropy_grad, *further = cotangents
  formulas = _formulas(settings, table)
  size, count = chunk_size(settings, inputs)
  column = lambda x: x[:, None]

  def accumulate(i, grads):
    hidden_grad, table_grad = grads
    chunk = read_chunk(settings, inputs, size, i)
    logits, rows, _, hit, new = chunk
    log_p = logits - column(softmax.top) - column(softmax.log_normaliser)
    p = jnp.where(new, jnp.exp(log_p), 0)
    logits_grad = (hit - p) * column(log_prob_grad)
    logits_grad -= p * (log_p + column(softmax.entropy)) * column(entropy_grad)
    for each, needed, cotangent in zip(formulas, saved, further, strict=True):
      logits_grad += each.gradient(needed, chunk, log_p, p, cotangent)
    logits_grad = (logits_grad / settings.temperature).astype(hidden.dtype)
    rows_grad = sum_over_tokens(
      settings, product("nc,nd->cd", logits_grad, hidden), table
    )
    start = (first_row(table, size, i), 0)
    before = jax.lax.dynamic_slice(table_grad, start, rows_grad.shape)
    return (
      hidden_grad + product("nc,cd->nd", logits_grad, rows),
      jax.lax.dynamic_update_slice(table_grad, before + rows_grad, start),
    )

  zeros = lambda x: jnp.zeros(x.shape, wide(hidden.dtype))
  hidden_grad, table_grad = jax.lax.fori_loop(
    0, count, accumulate, (zeros(hidden), zeros(table))
  )
  return hidden_grad[None], table_grad.astype(table.dtype)
