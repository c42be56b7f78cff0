"""Sums over a chunk of the vocabulary, and the same sums of several chunks.

token_stats.py has the equations. Shape letters: N positions, P parts, which are
joined.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from entrojax.entropy.chunk import Chunk
from entrojax.entropy.formulas import Formula, Parts, Sums
from entrojax.types import Array

LEAST = -1e30  # nats below the largest; finite, and its exponential is 0


class ChunkSums(NamedTuple):
  """Sums over a chunk for every token, from which statistics are computed."""

  largest: Array  # f32[N], the largest logit m
  total: Array  # f32[N], sum exp(z - m)
  weighted: Array  # f32[N], sum exp(z - m) (z - m)
  chosen: Array  # f32[N], the logit of the target; 0 if the chunk lacks it
  further: tuple[Any, ...]  # what each formula needs, arrays [N, ...]


def chunk_sums(formulas: list[Formula], chunk: Chunk) -> ChunkSums:
  """Compute the sums over a chunk for each token."""
  logits, _, _, hit, new = chunk
  largest = jnp.max(jnp.where(new, logits, -jnp.inf), axis=1)
  centred = jnp.where(new, logits - largest[:, None], LEAST)
  exponentials = jnp.exp(centred)
  total = jnp.sum(exponentials, axis=1)
  weighted = jnp.sum(exponentials * centred, axis=1)
  chosen = jnp.sum(jnp.where(hit, logits, 0), axis=1)
  sums = Sums(largest, centred, exponentials, total, weighted)
  further = tuple(each.sums(chunk, sums) for each in formulas)
  return ChunkSums(largest, total, weighted, chosen, further)


def join_sums(formulas: list[Formula], parts: ChunkSums) -> ChunkSums:
  """Compute the sums over several parts, stacked to [P, N, ...], together."""
  largest, total, weighted, further = join_parts(formulas, parts)
  chosen = jnp.sum(parts.chosen, axis=0)
  return ChunkSums(largest, total, weighted, chosen, further)


def join_parts(
  formulas: list[Formula], parts: ChunkSums
) -> tuple[Array, Array, Array, tuple[Any, ...]]:
  """Compute all of `join_sums` but the logit of the target."""
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
