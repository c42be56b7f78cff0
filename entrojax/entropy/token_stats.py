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

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import chex
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from entrojax.entropy.chunk import Chunk
from entrojax.entropy.formulas import Formula, Merged, Parts, Sums, formula
from entrojax.entropy.statistics import check_statistics
from entrojax.system.sharding import ROWS, num_row_shards, spec_of
from entrojax.types import Array, Statistic

# the checkpoint name of what rematerialisation should keep: 3 numbers per token
# and a few more for each further statistic
SAVED = "token_stats"

_LEAST = -1e30  # nats below the largest; finite, and its exponential is 0
# If all logits are at most this part of a chunk, keeping them costs less than
# computing them twice.
_FEW = 1 / 16
_LANES = 128  # a chunk is a multiple of the vector width of a TPU


def log_prob_and_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
  """Compute log softmax(logits)[target] and the entropy of softmax(logits).

  Args:
    logits: f[..., V], already divided by the temperature; -inf = a token that
      cannot be sampled.
    targets: i32[...], the sampled tokens.

  Returns:
    (log_probs f32[...], entropy f32[...]), nats.
  """
  logits = logits.astype(_wide(logits.dtype))
  # Centred logits, so that entropy is not a difference of two large numbers.
  logits -= jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
  # An impossible token has probability 0, and 0 times -inf would be NaN.
  logits = jnp.maximum(logits, _LEAST)
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
  return jnp.einsum(
    "...d,vd->...v",
    hidden,
    table.astype(hidden.dtype),
    preferred_element_type=_wide(hidden.dtype),
  )


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
  settings = _Settings(temperature, chunk_elements, mesh, statistics)
  stats = _stats(
    settings, hidden.reshape(-1, hidden.shape[-1]), table, targets.reshape(-1)
  )
  return jax.tree.map(lambda x: x.reshape(*targets.shape, *x.shape[1:]), stats)


class _Settings(NamedTuple):
  """Static settings, fixed when the graph is traced."""

  temperature: float
  chunk_elements: int
  mesh: Mesh | None
  statistics: tuple[Statistic, ...] = ()


class _Inputs(NamedTuple):
  """Inputs of the loop over chunks; on a mesh, the part of one device."""

  hidden: Array  # f[N, D]
  table: Array  # f[V, D]
  ids: Array  # i32[V], the token of each row of the table
  targets: Array  # i32[N]


class _ChunkSums(NamedTuple):
  """Sums over a chunk for every token, from which statistics are computed."""

  largest: Array  # f32[N], the largest logit m
  total: Array  # f32[N], sum exp(z - m)
  weighted: Array  # f32[N], sum exp(z - m) (z - m)
  chosen: Array  # f32[N], the logit of the target; 0 if the chunk lacks it
  further: tuple[Any, ...]  # what each formula needs, arrays [N, ...]


class _Softmax(NamedTuple):
  """Statistics from which the backward pass computes probabilities."""

  top: Array  # f32[N], the largest logit
  log_normaliser: Array  # f32[N], logsumexp(z) - top
  entropy: Array  # f32[N], nats


# -- values and gradients over all chunks and shards --------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _stats(settings: _Settings, hidden: Array, table: Array, targets: Array):
  """Compute log-probs, entropies f32[N] and statistics of hidden f[N, D]."""
  return _forward(settings, hidden, table, targets)[0]


def _forward(settings: _Settings, hidden: Array, table: Array, targets: Array):
  inputs = _Inputs(hidden, table, jnp.arange(table.shape[0]), targets)
  formulas = _formulas(settings, table)
  sums = functools.partial(_chunk_sums, formulas)
  if formulas:
    # Stacks of the sums of all chunks would need more memory than the chunks.
    join = functools.partial(_join_sums, formulas)
    parts = _join_chunks(settings, inputs, sums, join)
  else:
    parts = _map_chunks(settings, inputs, sums)
  top, normaliser, weighted, further = _join_parts(formulas, parts)
  mean_logit = weighted / normaliser
  log_normaliser = jnp.log(normaliser)
  entropy = log_normaliser - mean_logit
  target = jnp.sum(parts.chosen, axis=0)
  log_probs = target - top - log_normaliser
  merged = Merged(top, log_normaliser, entropy, target)
  reduce_chunks = functools.partial(_reduce_chunks, settings, inputs)
  values, saved = [], []
  for each, sums_of_all in zip(formulas, further, strict=True):
    value, needed = each.finish(sums_of_all, merged, reduce_chunks)
    values.append(value)
    saved.append(needed)
  softmax = _Softmax(top, log_normaliser, entropy)
  softmax, saved = jax.tree.map(
    lambda x: checkpoint_name(x, SAVED), (softmax, saved)
  )
  outputs = (log_probs, entropy, *values)
  return outputs, (hidden, table, targets, softmax, saved)


def _backward(settings: _Settings, residuals: Any, cotangents: Any):
  hidden, table, targets, softmax, saved = residuals
  inputs_spec, part_spec = _specs(settings.mesh, table)
  rows = inputs_spec.targets
  hidden_grad, table_grad = _on_mesh(
    functools.partial(_chunk_gradients, settings),
    settings.mesh,
    in_specs=(inputs_spec, rows, rows, rows),
    out_specs=(part_spec, inputs_spec.table),
  )(
    _Inputs(hidden, table, jnp.arange(table.shape[0]), targets),
    softmax,
    saved,
    cotangents,
  )
  return jnp.sum(hidden_grad, axis=0).astype(hidden.dtype), table_grad, None


_stats.defvjp(_forward, _backward)


def _specs(mesh: Mesh | None, table: Array) -> tuple[Any, PartitionSpec]:
  """Return the shardings of the `_Inputs` and of arrays [S, N]."""
  if mesh is None:
    specs: list[Any] = [PartitionSpec()] * 4
    return _Inputs(*specs), PartitionSpec()
  table_spec = spec_of("embed_tokens", table.shape, mesh)
  ids_spec = PartitionSpec(table_spec[0])
  specs = [ROWS, table_spec, ids_spec, ROWS]
  return _Inputs(*specs), PartitionSpec(*ids_spec, *ROWS)


def _on_mesh(function, mesh: Mesh | None, *, in_specs, out_specs):
  """Run a function on each device, for the device's part of its arguments."""
  if mesh is None:
    return function
  return jax.shard_map(
    function,
    mesh=mesh,
    in_specs=in_specs,
    out_specs=out_specs,
    check_vma=False,
  )


def _map_chunks(
  settings: _Settings, inputs: _Inputs, function: Callable[[Chunk], Any]
) -> Any:
  """Apply a function to all chunks, each on the device that holds it.

  Args:
    settings: static.
    inputs: of all devices.
    function: (chunk) -> arrays [N, ...], for the tokens of a device.

  Returns:
    The results of all chunks of all shards, stacked: arrays [P, N, ...].
  """
  inputs_spec, part_spec = _specs(settings.mesh, inputs.table)

  def on_device(inputs):
    size, count = _chunk_size(settings, inputs)
    return jax.lax.map(
      lambda i: function(_chunk(settings, inputs, size, i)), jnp.arange(count)
    )

  return _on_mesh(
    on_device, settings.mesh, in_specs=(inputs_spec,), out_specs=part_spec
  )(inputs)


def _join_chunks(
  settings: _Settings,
  inputs: _Inputs,
  function: Callable[..., Any],
  join: Callable[[Any], Any],
  *rows: Array,
) -> Any:
  """Join the results of a function over the chunks of each device.

  Unlike `_map_chunks` it holds the results of one chunk at a time.

  Args:
    settings: static.
    inputs: of all devices.
    function: (chunk, *rows) -> arrays [N, ...].
    join: takes the results of two parts, stacked to [2, N, ...], and returns
      the result of both together.
    *rows: arrays [N, ...].

  Returns:
    The results of all shards, stacked: arrays [S, N, ...].
  """
  inputs_spec, part_spec = _specs(settings.mesh, inputs.table)

  def on_device(inputs, *rows):
    size, count = _chunk_size(settings, inputs)
    result = lambda i: function(_chunk(settings, inputs, size, i), *rows)

    def join_next(i, before):
      new = result(i)
      both = join(jax.tree.map(lambda *x: jnp.stack(x), before, new))
      return jax.tree.map(lambda *x: jnp.where(i == 0, *x), new, both)

    shapes = jax.eval_shape(result, jnp.int32(0))
    start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    joined = jax.lax.fori_loop(0, count, join_next, start)
    return jax.tree.map(lambda x: x[None], joined)

  return _on_mesh(
    on_device,
    settings.mesh,
    in_specs=(inputs_spec, *(inputs_spec.targets for _ in rows)),
    out_specs=part_spec,
  )(inputs, *rows)


def _reduce_chunks(
  settings: _Settings,
  inputs: _Inputs,
  function: Callable[..., tuple[Array, ...]],
  reductions: tuple[Callable[..., Array], ...],
  *rows: Array,
) -> tuple[Array, ...]:
  """Reduce the results of a function over all chunks; see ReduceChunks."""

  def reduce(parts):
    return tuple(
      reduction(x, axis=0)
      for reduction, x in zip(reductions, parts, strict=True)
    )

  return reduce(_join_chunks(settings, inputs, function, reduce, *rows))


def _formulas(settings: _Settings, table: Array) -> list[Formula]:
  """Return the formulas of the statistics that were asked for."""
  return [
    formula(statistic, settings.temperature, table.shape[0])
    for statistic in settings.statistics
  ]


# -- the loop over chunks, on one device --------------------------------------


def _chunk_sums(formulas: list[Formula], chunk: Chunk) -> _ChunkSums:
  """Compute the sums over a chunk for each token."""
  logits, _, _, hit, new = chunk
  largest = jnp.max(jnp.where(new, logits, -jnp.inf), axis=1)
  centred = jnp.where(new, logits - largest[:, None], _LEAST)
  exponentials = jnp.exp(centred)
  total = jnp.sum(exponentials, axis=1)
  weighted = jnp.sum(exponentials * centred, axis=1)
  chosen = jnp.sum(jnp.where(hit, logits, 0), axis=1)
  sums = Sums(largest, centred, exponentials, total, weighted)
  further = tuple(each.sums(chunk, sums) for each in formulas)
  return _ChunkSums(largest, total, weighted, chosen, further)


def _join_sums(formulas: list[Formula], parts: _ChunkSums) -> _ChunkSums:
  """Compute the sums over several parts, stacked to [P, N, ...], together."""
  largest, total, weighted, further = _join_parts(formulas, parts)
  chosen = jnp.sum(parts.chosen, axis=0)
  return _ChunkSums(largest, total, weighted, chosen, further)


def _join_parts(
  formulas: list[Formula], parts: _ChunkSums
) -> tuple[Array, Array, Array, tuple[Any, ...]]:
  """Compute all of `_join_sums` but the logit of the target."""
  largest = jnp.max(parts.largest, axis=0)
  below = parts.largest - largest[None]
  scale = jnp.exp(below)
  total = jnp.sum(scale * parts.total, axis=0)
  weighted = jnp.sum(scale * (parts.weighted + below * parts.total), axis=0)
  joined = Parts(below, parts.total, parts.weighted)
  further = tuple(
    each.join(sums, joined)
    for each, sums in zip(formulas, parts.further, strict=True)
  )
  return largest, total, weighted, further


def _chunk_gradients(
  settings: _Settings,
  inputs: _Inputs,
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
  size, count = _chunk_size(settings, inputs)
  column = lambda x: x[:, None]

  def accumulate(i, grads):
    hidden_grad, table_grad = grads
    chunk = _chunk(settings, inputs, size, i)
    logits, rows, _, hit, new = chunk
    log_p = logits - column(softmax.top) - column(softmax.log_normaliser)
    p = jnp.where(new, jnp.exp(log_p), 0)
    logits_grad = (hit - p) * column(log_prob_grad)
    logits_grad -= p * (log_p + column(softmax.entropy)) * column(entropy_grad)
    for each, needed, cotangent in zip(formulas, saved, further, strict=True):
      logits_grad += each.gradient(needed, chunk, log_p, p, cotangent)
    logits_grad = (logits_grad / settings.temperature).astype(hidden.dtype)
    rows_grad = _sum_over_tokens(
      settings, _product("nc,nd->cd", logits_grad, hidden), table
    )
    start = (_start(table, size, i), 0)
    before = jax.lax.dynamic_slice(table_grad, start, rows_grad.shape)
    return (
      hidden_grad + _product("nc,cd->nd", logits_grad, rows),
      jax.lax.dynamic_update_slice(table_grad, before + rows_grad, start),
    )

  zeros = lambda x: jnp.zeros(x.shape, _wide(hidden.dtype))
  hidden_grad, table_grad = jax.lax.fori_loop(
    0, count, accumulate, (zeros(hidden), zeros(table))
  )
  return hidden_grad[None], table_grad.astype(table.dtype)


def _chunk_size(settings: _Settings, inputs: _Inputs) -> tuple[int, int]:
  """Return (rows of the table in a chunk, number of chunks)."""
  num_rows = inputs.table.shape[0]
  size = -(-settings.chunk_elements // inputs.hidden.shape[0])
  count = -(-num_rows // (-(-size // _LANES) * _LANES))
  size = -(-num_rows // count)
  return min(-(-size // _LANES) * _LANES, num_rows), count


def _start(table: Array, size: int, i: Array) -> Array:
  """Return the first row of chunk i; the last chunk may overlap another."""
  return jnp.minimum(i * size, table.shape[0] - size)


def _chunk(settings: _Settings, inputs: _Inputs, size: int, i: Array) -> Chunk:
  """Compute the logits of chunk i."""
  hidden, table, ids, targets = inputs
  start = _start(table, size, i)
  rows = jax.lax.dynamic_slice_in_dim(table, start, size).astype(hidden.dtype)
  if rows.shape[1] < hidden.shape[1]:
    rows = jax.lax.all_gather(rows, "fsdp", axis=1, tiled=True)
  logits = _product("nd,cd->nc", hidden, rows) / settings.temperature
  new = (start + jnp.arange(size) >= i * size)[None]
  chunk_ids = jax.lax.dynamic_slice_in_dim(ids, start, size)[None]
  hit = new & (chunk_ids == targets[:, None])
  return Chunk(logits, rows, chunk_ids, hit, new)


def _sum_over_tokens(
  settings: _Settings, rows_grad: Array, table: Array
) -> Array:
  """Sum the gradient of rows over all devices that hold other tokens."""
  if settings.mesh is None:
    return rows_grad
  if table.shape[1] < rows_grad.shape[1]:
    rows_grad = jax.lax.psum_scatter(
      rows_grad, "fsdp", scatter_dimension=1, tiled=True
    )
    return jax.lax.psum(rows_grad, "data")
  return jax.lax.psum(rows_grad, ("data", "fsdp"))


def _product(dimensions: str, a: Array, b: Array) -> Array:
  """Multiply with sums in float32 or wider."""
  return jnp.einsum(dimensions, a, b, preferred_element_type=_wide(a.dtype))


def _wide(dtype: Any) -> Any:
  """Return float32, or the type itself if it is wider."""
  return jnp.promote_types(dtype, jnp.float32)
