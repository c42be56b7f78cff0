"""Log-probability of the sampled token and entropy of its distribution.

Both are exact, in float32 nats, at the sampling temperature. `token_stats` has
them from hidden states without the logits of all tokens: it walks over chunks
of the vocabulary, and its backward pass makes each chunk again, so memory holds
[N, chunk] and never [N, V]. With p = softmax(z) and H its entropy,

    d log p_y / dz_v = 1[v = y] - p_v        dH / dz_v = -p_v (log p_v + H)

There is no kernel of our own for it on a TPU. What XLA compiles, forward and
backward, V = 151,936, bfloat16: for a v5e, 8,192 tokens of width 896, a chunk's
logits never leave VMEM and of 104 M estimated cycles 68 M are products at their
peak, 23 M the forward's sums; for a v5p, 20,480 tokens of width 3,584, they go
through HBM, and of 472 M cycles 340 M are products, 23 M (5 %) those sums. A
kernel could save those sums and no memory. Sums around the largest logit of
the chunks before, which XLA makes with the product, took 12 % off on the v5e;
of an update that is 3 %, and it was not worth its second path.

Shape letters: N tokens, D width, V vocabulary, C a chunk of it, S its shards.
"""

import functools
from typing import Any, NamedTuple

import chex
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from entrojax.system.sharding import ROWS, num_row_shards, spec_of
from entrojax.types import Array

# what a rematerialised forward pass should keep: 3 numbers a token
SAVED = "token_stats"

_LEAST = -1e30  # nats below the largest; finite, and its exponential is 0
_FEW = (
  1 / 16
)  # of a chunk's logits: to keep them costs less than to remake them
_LANES = 128  # a chunk is a multiple of a TPU's vector width


def log_prob_and_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
  """Returns log softmax(logits)[target] and the entropy of softmax(logits).

  H = logsumexp(z) - sum_v softmax(z)_v z_v.

  Args:
    logits: f[..., V], already divided by the temperature; -inf = a token that
      cannot be.
    targets: i32[...], the sampled tokens.

  Returns:
    (log_probs f32[...], entropy f32[...]), nats.
  """
  logits = logits.astype(_wide(logits.dtype))
  # Centred: entropy is then no difference of two large numbers.
  logits -= jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
  # A token that cannot be has a probability of 0, and 0 times -inf is NaN.
  logits = jnp.maximum(logits, _LEAST)
  log_normaliser = jax.nn.logsumexp(logits, axis=-1)
  chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
  probabilities = jnp.exp(logits - log_normaliser[..., None])
  mean_logit = jnp.sum(probabilities * logits, axis=-1)
  return chosen - log_normaliser, log_normaliser - mean_logit


def unembed(hidden: Array, table: Array) -> Array:
  """Returns the logits f32[..., V] of hidden states f[..., D].

  Args:
    hidden: the states; their type is that of the product.
    table: f[V, D], the unembedding.
  """
  return jnp.einsum(
    "...d,vd->...v",
    hidden,
    table.astype(hidden.dtype),
    preferred_element_type=_wide(hidden.dtype),
  )


def token_stats(
  hidden: Array,
  table: Array,
  targets: Array,
  *,
  temperature: float = 1.0,
  chunk_elements: int = 2**24,
  mesh: Mesh | None = None,
) -> tuple[Array, Array]:
  """Returns log-probs and entropies of `targets` under the policy.

  On a mesh each device holds the logits of its own tokens and its own shard of
  the vocabulary; what devices exchange is 4 numbers a token, the rows of the
  table that are split over 'fsdp', and gradients.

  Args:
    hidden: f[B, T, D], the state that predicts each target.
    table: f[V, D], the unembedding.
    targets: i32[B, T].
    temperature: the sampling temperature, > 0.
    chunk_elements: logits that exist at one time on a device, about; few
      beside it are kept whole, as small vocabularies have them.
    mesh: over which rows and table are split as entrojax.sharding says; None
      for a single device.

  Returns:
    (log_probs f32[B, T], entropy f32[B, T]), nats.
  """
  chex.assert_rank([hidden, table, targets], [3, 2, 2])
  chex.assert_equal_shape_prefix([hidden, targets], 2)
  if targets.size * table.shape[0] <= _FEW * chunk_elements:
    return log_prob_and_entropy(unembed(hidden, table) / temperature, targets)
  if mesh is not None and hidden.shape[0] % num_row_shards(mesh):
    mesh = None  # the compiler's choice, then
  how = _How(temperature, chunk_elements, mesh)
  stats = _stats(
    how, hidden.reshape(-1, hidden.shape[-1]), table, targets.reshape(-1)
  )
  return jax.tree.map(lambda x: x.reshape(targets.shape), stats)


class _How(NamedTuple):
  """What is known when the graph is made."""

  temperature: float
  chunk_elements: int
  mesh: Mesh | None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _stats(how: _How, hidden: Array, table: Array, targets: Array):
  """Returns (log_probs [N], entropy [N]) of hidden [N, D], targets [N]."""
  return _forward(how, hidden, table, targets)[0]


def _forward(how: _How, hidden: Array, table: Array, targets: Array):
  rows, placed, entries, parts = _specs(how.mesh, table)
  largest, total, weighted, chosen = _on_mesh(
    functools.partial(_chunk_sums, how),
    how.mesh,
    in_specs=(rows, placed, entries, rows),
    out_specs=(parts,) * 4,
  )(hidden, table, jnp.arange(table.shape[0]), targets)
  top = jnp.max(largest, axis=0)
  below = largest - top[None]
  scale = jnp.exp(below)
  normaliser = jnp.sum(scale * total, axis=0)
  mean_logit = jnp.sum(scale * (weighted + below * total), axis=0) / normaliser
  log_normaliser = jnp.log(normaliser)
  entropy = log_normaliser - mean_logit
  log_probs = jnp.sum(chosen, axis=0) - top - log_normaliser
  numbers = [checkpoint_name(x, SAVED) for x in (top, log_normaliser, entropy)]
  return (log_probs, entropy), (hidden, table, targets, numbers)


def _backward(how: _How, saved: Any, cotangents: tuple[Array, Array]):
  hidden, table, targets, numbers = saved
  rows, placed, entries, parts = _specs(how.mesh, table)
  hidden_grad, table_grad = _on_mesh(
    functools.partial(_chunk_gradients, how),
    how.mesh,
    in_specs=(rows, placed, entries, *[rows] * 6),
    out_specs=(parts, placed),
  )(hidden, table, jnp.arange(table.shape[0]), targets, *numbers, *cotangents)
  return jnp.sum(hidden_grad, axis=0).astype(hidden.dtype), table_grad, None


_stats.defvjp(_forward, _backward)


def _specs(mesh: Mesh | None, table: Array) -> tuple[PartitionSpec, ...]:
  """Returns how these are split: [N], the table, [V], [shards of V, N]."""
  if mesh is None:
    return (PartitionSpec(),) * 4
  placed = spec_of("embed_tokens", table.shape, mesh)
  entries = PartitionSpec(placed[0])
  return ROWS, placed, entries, PartitionSpec(*entries, *ROWS)


def _on_mesh(function, mesh: Mesh | None, *, in_specs, out_specs):
  """Returns the function that runs on each device's part of its arguments."""
  if mesh is None:
    return function
  return jax.shard_map(
    function,
    mesh=mesh,
    in_specs=in_specs,
    out_specs=out_specs,
    check_vma=False,
  )


def _chunk_sums(how, hidden, table, ids, targets):
  """Returns four f32[chunks, N]: what a chunk of the table says of a token.

  Its largest logit m, sum exp(z - m), sum exp(z - m) (z - m), and the target's
  logit, 0 if that lies elsewhere.
  """
  size, count = _chunk_size(how, hidden, table)

  def sums(i):
    logits, _, hit, new = _chunk(how, hidden, table, ids, targets, size, i)
    largest = jnp.max(jnp.where(new, logits, -jnp.inf), axis=1)
    centred = jnp.where(new, logits - largest[:, None], _LEAST)
    exponentials = jnp.exp(centred)
    return (
      largest,
      jnp.sum(exponentials, axis=1),
      jnp.sum(exponentials * centred, axis=1),
      jnp.sum(jnp.where(hit, logits, 0), axis=1),
    )

  return jax.lax.map(sums, jnp.arange(count))


def _chunk_gradients(
  how,
  hidden,
  table,
  ids,
  targets,
  top,
  log_normaliser,
  entropy,
  log_prob_grad,
  entropy_grad,
):
  """Returns the gradients of hidden, [1, N, D], and of the table, [V, D].

  The first is what this shard of the table adds to it.
  """
  size, count = _chunk_size(how, hidden, table)
  column = lambda x: x[:, None]

  def accumulate(i, grads):
    hidden_grad, table_grad = grads
    logits, rows, hit, new = _chunk(how, hidden, table, ids, targets, size, i)
    log_p = logits - column(top) - column(log_normaliser)
    p = jnp.where(new, jnp.exp(log_p), 0)
    logits_grad = (hit - p) * column(log_prob_grad)
    logits_grad -= p * (log_p + column(entropy)) * column(entropy_grad)
    logits_grad = (logits_grad / how.temperature).astype(hidden.dtype)
    added = _reduced(how, _product("nc,nd->cd", logits_grad, hidden), table)
    start = (_start(table, size, i), 0)
    before = jax.lax.dynamic_slice(table_grad, start, added.shape)
    return (
      hidden_grad + _product("nc,cd->nd", logits_grad, rows),
      jax.lax.dynamic_update_slice(table_grad, before + added, start),
    )

  zeros = lambda x: jnp.zeros(x.shape, _wide(hidden.dtype))
  hidden_grad, table_grad = jax.lax.fori_loop(
    0, count, accumulate, (zeros(hidden), zeros(table))
  )
  return hidden_grad[None], table_grad.astype(table.dtype)


def _chunk_size(how: _How, hidden: Array, table: Array) -> tuple[int, int]:
  """Returns how many rows of a table a chunk has, and how many chunks it is."""
  num_rows = table.shape[0]
  size = -(-how.chunk_elements // hidden.shape[0])
  count = -(-num_rows // (-(-size // _LANES) * _LANES))
  size = -(-num_rows // count)
  return min(-(-size // _LANES) * _LANES, num_rows), count


def _start(table: Array, size: int, i: Array) -> Array:
  """Returns the first row of chunk i; the last chunk may begin in another."""
  return jnp.minimum(i * size, table.shape[0] - size)


def _chunk(how, hidden, table, ids, targets, size, i):
  """Returns logits [N, C], rows of the table [C, D], and what counts of them.

  hit bool[N, C]: the token's target; new bool[1, C]: not in the chunk before.
  """
  start = _start(table, size, i)
  rows = jax.lax.dynamic_slice_in_dim(table, start, size).astype(hidden.dtype)
  if rows.shape[1] < hidden.shape[1]:
    rows = jax.lax.all_gather(rows, "fsdp", axis=1, tiled=True)
  logits = _product("nd,cd->nc", hidden, rows) / how.temperature
  new = (start + jnp.arange(size) >= i * size)[None]
  here = jax.lax.dynamic_slice_in_dim(ids, start, size)[None]
  return logits, rows, new & (here == targets[:, None]), new


def _reduced(how: _How, rows_grad: Array, table: Array) -> Array:
  """Sums the gradient of rows over all devices that hold other tokens."""
  if how.mesh is None:
    return rows_grad
  if table.shape[1] < rows_grad.shape[1]:
    rows_grad = jax.lax.psum_scatter(
      rows_grad, "fsdp", scatter_dimension=1, tiled=True
    )
    return jax.lax.psum(rows_grad, "data")
  return jax.lax.psum(rows_grad, ("data", "fsdp"))


def _product(dimensions: str, a: Array, b: Array) -> Array:
  return jnp.einsum(dimensions, a, b, preferred_element_type=_wide(a.dtype))


def _wide(dtype: Any) -> Any:
  return jnp.promote_types(dtype, jnp.float32)
