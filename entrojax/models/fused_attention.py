"""Attention over whole rows by a kernel that never holds the scores [L, S].

For the update alone, and for scoring: with a cache the decoder multiplies with
keys as they lie there. On a GPU cuDNN's flash attention (arXiv 2205.14135)
saves the memory of B * H * L * S scores a layer.

On a CPU the decoder's own products are faster than this function's. Two cores,
float32, 64 rows of 128 tokens, CPU time of one layer's attention, forward and
backward: 76 against 96 ms (4 heads, 2 of keys, width 32), 260 against 322 ms
(9, 3, 64); one decoding step over 128 keys: 0.1 against 1.3 ms, 0.9 against
5.3 ms, most of which turns the keys around.
"""

from collections.abc import Callable
from typing import Literal

import jax

from entrojax.types import Array

# q [B, L, H, C], k and v [B, S, K, C], visible bool[B, L, S] -> [B, L, H, C]
Attend = Callable[[Array, Array, Array, Array], Array]


def fused_attention(implementation: Literal["cudnn", "xla"]) -> Attend:
  """Makes softmax(q k / sqrt(C)) v over the keys that a query may see.

  Heads are in the order of their key-value heads. A query that sees no key
  gets some finite mean of the values.

  Args:
    implementation: of jax.nn.dot_product_attention: "cudnn", on a GPU and in
      bfloat16 or float16; "xla" anywhere, which holds the scores.
  """

  def attend(q_BLHC, k_BSKC, v_BSKC, visible_BLS) -> Array:
    return jax.nn.dot_product_attention(
      q_BLHC,
      k_BSKC,
      v_BSKC,
      mask=visible_BLS[:, None],
      implementation=implementation,
    )

  return attend
