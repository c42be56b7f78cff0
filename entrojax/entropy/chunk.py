"""A chunk of the logits, and the type of a pass over all chunks.

chunk_loop.py makes the chunks; formulas.py and nucleus.py read them. Shape
letters: N tokens, D width, C a chunk of the vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

from entrojax.types import Array


class Chunk(NamedTuple):
  """A chunk of the logits of N tokens, on one device."""

  logits: Array  # f32[N, C], divided by the sampling temperature
  rows: Array  # f[C, D], of the table
  ids: Array  # i32[1, C], the token of each row
  hit: Array  # bool[N, C], True = the target of the token
  new: Array  # bool[1, C], True = a row that the preceding chunk does not hold


# A further pass over all chunks: (function, reductions, *rows) -> arrays
# [N, ...]. The function maps (chunk, *rows) to a tuple of arrays [N, ...], and
# there is one reduction over the chunks (jnp.sum, jnp.min or jnp.max) for each.
# Rows are arrays [N, ...].
ReduceChunks = Callable[..., tuple[Array, ...]]
