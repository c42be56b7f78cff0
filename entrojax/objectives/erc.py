"""ERC: tokens whose entropy has moved too far stop learning.

    q = (H + 1e-8) / (H_old + 1e-8);  gradient 0 where not low < q < high

Entropy ratio clipping, arXiv 2512.05591, and its released code. The value and
the denominator stay. H is exact, of the whole distribution.
"""

import dataclasses

import jax
import jax.numpy as jnp

from entrojax.masking import share_metric
from entrojax.objectives.chain import map_terms
from entrojax.types import Objective, Term

_EPSILON = 1e-8  # nats


def erc(*, low: float = 0.95, high: float = 1.05) -> Objective:
  """Makes the clipping; put it right after a surrogate.

  It needs more than one update per rollout batch: at the first, q is 1.

  Args:
    low: the least entropy ratio that learns, in [0, 1).
    high: the largest, above 1.
  """
  if not 0 <= low < 1:
    raise ValueError(f"erc.low must lie in [0, 1), got {low}")
  if not high > 1:
    raise ValueError(f"erc.high must be above 1, got {high}")

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    entropy = jax.lax.stop_gradient(tokens.entropy)
    ratio = (entropy + _EPSILON) / (tokens.old_entropy + _EPSILON)
    beyond = (ratio <= low) | (ratio >= high)

    def clip(term: Term) -> Term:
      constant = jax.lax.stop_gradient(term.loss)
      return dataclasses.replace(
        term, loss=jnp.where(beyond, constant, term.loss)
      )

    metrics = {"erc/touched": share_metric(beyond, tokens.mask)}
    return map_terms(token_loss, clip, metrics)

  return objective
