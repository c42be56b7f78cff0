"""Put rows of similar length into the same micro-batch.

A response ends before its limit of T tokens, and a micro-batch is only computed
up to the end of its longest response, rounded up to one of a few lengths, the
buckets. For this, the rows of a mini-batch are sorted by length:

    the rows of each group, by length
    -> units of r neighbouring rows, which share one reading of their prompt
    -> all units, by their longest row
    -> micro-batches, in this order

r is a divisor of the group's size G. With r = G whole groups are sorted, each
as long as its longest response. With r = 1 rows are sorted by themselves, but
each reads its prompt again. `unit_size` weighs one against the other.

Shapes: B rows, P prompt tokens, T response tokens, M micro-batches.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from entrojax.system.sharding import num_row_shards, replicated, split_rows
from entrojax.types import Array, Params
from entrojax.update.switched import switch

# (params, (tokens i32[rows, P + length], positions), length) -> arrays
# f32[rows, length, ...]
ScoreRows = Callable[[Params, tuple[Array, Array], int], tuple[Array, ...]]


def score_by_length(
  score_rows: ScoreRows,
  params: Params,
  tokens: Array,
  positions: Array,
  *,
  buckets: tuple[int, ...],
  group_size: int,
  rows_per_prompt: int,
  num_microbatches: int,
  mesh: Mesh | None,
) -> tuple[Array, ...]:
  """Score micro-batches of rows of similar length, one after the other.

  Args:
    score_rows: scores the rows of a micro-batch.
    params: the policy's parameters.
    tokens: i32[B, P + T], prompt and response of each row.
    positions: i32[B, P + T], -1 = padding.
    buckets: ascending lengths; the last one is T.
    group_size: G; G neighbouring rows have the same prompt.
    rows_per_prompt: r; score_rows takes r neighbouring rows with one prompt.
    num_microbatches: M.
    mesh: the mesh that the rows of each micro-batch are split over; None for a
      single device.

  Returns:
    Arrays f32[B, T, ...], in the order of the rows given; 0 behind the bucket.
  """
  lengths = response_lengths(positions, buckets[-1])
  if mesh is not None:  # all devices sort alike
    lengths = jax.lax.with_sharding_constraint(lengths, replicated(mesh))
  dealt = deal(lengths, buckets, group_size, rows_per_prompt, num_microbatches)
  rows = jax.tree.map(
    lambda x: x[dealt.rows].reshape(num_microbatches, -1, *x.shape[1:]),
    (tokens, positions),
  )
  rows = split_rows(rows, mesh, axis=1)

  def up_to(length: int, params: Params, rows: Any) -> tuple[Array, ...]:
    missing = buckets[-1] - length
    rows = jax.tree.map(lambda x: x[:, : x.shape[1] - missing], rows)
    return jax.tree.map(
      lambda x: jnp.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2)),
      score_rows(params, rows, length),
    )

  def score_microbatch(inputs):
    rows, bucket = inputs
    return switch(
      bucket,
      [functools.partial(up_to, length) for length in buckets],
      params,
      rows,
      num_shards=1 if mesh is None else num_row_shards(mesh),
    )

  stats = jax.lax.map(score_microbatch, (rows, dealt.bucket))
  places = inverse(dealt.rows)
  stats = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[places], stats)
  return split_rows(stats, mesh)


class Deal(NamedTuple):
  """Which rows each micro-batch has, and how long it is."""

  rows: Array  # i32[B], the rows of all micro-batches, one after the other
  bucket: Array  # i32[M], the number of each micro-batch's bucket


def deal(
  lengths: Array,
  buckets: Sequence[int],
  group_size: int,
  unit: int,
  num_microbatches: int,
) -> Deal:
  """Sort rows by length and deal them to micro-batches.

  Args:
    lengths: i32[B], tokens of each response.
    buckets: ascending lengths; no response is longer than the last.
    group_size: G; G neighbouring rows have the same prompt.
    unit: r, a divisor of G and of the rows of a micro-batch.
    num_microbatches: M.
  """
  groups = lengths.reshape(-1, group_size)
  first = jnp.arange(0, lengths.size, group_size, dtype=jnp.int32)
  rows = first[:, None] + jnp.argsort(groups, axis=1).astype(jnp.int32)
  units = rows.reshape(-1, unit)
  longest = jnp.max(lengths[units], axis=1)
  rows = units[jnp.argsort(longest)].reshape(-1)
  longest = jnp.max(lengths[rows].reshape(num_microbatches, -1), axis=1)
  bucket = jnp.searchsorted(jnp.asarray(buckets, jnp.int32), longest)
  return Deal(rows, bucket.astype(jnp.int32))


def unit_size(
  most: int, group_size: int, num_tokens: int, response_length: int
) -> int:
  """Return r, the number of neighbouring rows that read their prompt once.

  It is the divisor with the fewest tokens if lengths are spread evenly between
  0 and T. Of the G / r units of a group, the j-th is then j r T / (G + 1)
  tokens long on average, so that a group has

      P G / r + T G (G + r) / (2 (G + 1))   tokens,

  and the best r is near sqrt(2 (G + 1) P / T).

  Args:
    most: r is a divisor of this number, which is a divisor of G.
    group_size: G.
    num_tokens: P + T.
    response_length: T.
  """
  prompt_length = num_tokens - response_length

  def tokens(r: int) -> float:
    responses = response_length * (group_size + r) / (2 * (group_size + 1))
    return prompt_length / r + responses

  return min((r for r in range(1, most + 1) if most % r == 0), key=tokens)


def response_lengths(positions: Array, response_length: int) -> Array:
  """Return the number of tokens of each response, i32[B].

  Args:
    positions: i32[B, P + T], -1 = padding.
    response_length: T.
  """
  real = positions[:, -response_length:] >= 0
  number = jnp.arange(1, response_length + 1, dtype=jnp.int32)
  return jnp.max(jnp.where(real, number, 0), axis=1)


def inverse(rows: Array) -> Array:
  """Return the place of each row, i32[B], in a permutation of the rows."""
  places = jnp.arange(rows.size, dtype=rows.dtype)
  return jnp.zeros_like(rows).at[rows].set(places, unique_indices=True)
