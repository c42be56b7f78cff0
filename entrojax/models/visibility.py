"""Compute which keys each query may attend to, from their positions.

A query at position p sees the keys of its own example at positions p' <= p, and
in a sliding layer only those with p' > p - window. A position of 0 begins an
example, so several examples may share a row. A position of -1 is padding, which
no real token sees.

The result is one of three types:

    bool[B, L, S]    a mask of L queries and S keys
    fused.Examples   the number of each token's example, for the fused kernels
    Branches         a mask or Examples for prompts, and another for the
                     responses that continue them

`join_branches` lays out prompts and responses in shared rows, and
`split_branches` undoes it.

Shape suffixes: B rows, L queries, S keys. In a row of branches, a prompt of P
tokens is followed by its G responses of T tokens each.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from entrojax.models import fused
from entrojax.types import Array

_HIDDEN_SCORE = -1e30  # finite, so that a query that sees nothing has no NaN


class Branches(NamedTuple):
  """What tokens see if prompts are read together with their responses.

  A row is a prompt and, behind it, all of its responses: [B, P + G * T, ...].
  Each response sees the prompt and itself, and no other response.
  """

  prompts: Array | fused.Examples  # of P queries and P keys, bool[B, P, P]
  # of T queries and P + T keys, bool[B * G, T, P + T]
  responses: Array | fused.Examples


def visible_keys(
  positions: Array, key_positions: Array, index: Array, window: int | None
) -> Array:
  """Compute the mask of queries that lie anywhere among the keys.

  Args:
    positions: i32[B, L], positions of the queries.
    key_positions: i32[B, S], positions of the keys.
    index: i32[], the slot of the first query among the keys.
    window: tokens that a query sees, itself included; None: no limit.

  Returns:
    bool[B, L, S], True = query l sees key s.
  """
  keys, queries = key_positions[:, None, :], positions[:, :, None]
  before = (keys >= 0) & (keys <= queries)
  if window is not None:
    before &= keys > queries - window
  if positions.shape[1] == 1:
    return before  # in decoding, a row is one example
  examples = jnp.cumsum(key_positions == 0, axis=1)
  own = jax.lax.dynamic_slice_in_dim(examples, index, positions.shape[1], 1)
  return before & (examples[:, None, :] == own[:, :, None])


def hide(scores_BKXS: Array, visible_BLS: Array) -> Array:
  """Give a very low score to every key that its query may not attend to.

  Args:
    scores_BKXS: f[B, K, X, S], in any type.
    visible_BLS: bool[B, L, S]; X is a multiple of L.

  Returns:
    f[B, K, X / L, L, S], in float32 or wider.
  """
  batch, kv, _, _ = scores_BKXS.shape
  scores = scores_BKXS.astype(jnp.promote_types(scores_BKXS.dtype, jnp.float32))
  scores = scores.reshape(batch, kv, -1, *visible_BLS.shape[1:])
  return jnp.where(visible_BLS[:, None, None], scores, _HIDDEN_SCORE)


def visible_before(
  positions: Array, key_positions: Array, *, window: int | None
) -> Array:
  """Compute the mask of queries that are the last L of the S keys."""
  index = jnp.int32(key_positions.shape[1] - positions.shape[1])
  return visible_keys(positions, key_positions, index, window)


def visible_branches(
  prompts: Array, responses: Array, see: Callable[[Array, Array], Any]
) -> Branches:
  """Compute the keys that prompts see, and that their responses see.

  Args:
    prompts: i32[B, P], positions of the prompts.
    responses: i32[B * G, T], positions of the responses.
    see: (positions of queries, positions of keys) -> what the queries see; the
      queries are the last keys.
  """
  before = jnp.repeat(prompts, len(responses) // len(prompts), axis=0)
  keys = jnp.concatenate([before, responses], axis=1)
  return Branches(prompts=see(prompts, prompts), responses=see(responses, keys))


def num_queries(visible: Array | fused.Examples) -> tuple[int, int]:
  """Return (B, L), the rows and the queries that `visible` describes."""
  queries = visible.queries if isinstance(visible, fused.Examples) else visible
  return queries.shape[0], queries.shape[1]


def join_branches(prompts: Array, responses: Array) -> Array:
  """Lay prompts [B, P, ...] and responses [B * G, T, ...] into shared rows.

  Returns:
    [B, P + G * T, ...].
  """
  behind = responses.reshape(len(prompts), -1, *prompts.shape[2:])
  return jnp.concatenate([prompts, behind], axis=1)


def split_branches(x: Array, length: int, rows: int) -> tuple[Array, Array]:
  """Undo `join_branches`.

  Args:
    x: [B, P + G * T, ...].
    length: P, tokens of a prompt.
    rows: B * G, the number of responses.

  Returns:
    (prompts [B, P, ...], responses [B * G, T, ...]).
  """
  prompts, responses = jnp.split(x, [length], axis=1)
  behind = responses.shape[1] * len(x) // rows
  return prompts, responses.reshape(rows, behind, *x.shape[2:])
