"""Negative sample augmentation: right steps of wrong responses.

    A <- beta A    for tokens of steps judged right in wrong responses

BCPG-NSA, arXiv 2505.14403: beta = 1 is what it stands after, 0 leaves those
tokens out of the policy gradient, below 0 rewards them. Denominators count
every token, and penalties stay as they are.
"""

import jax.numpy as jnp

from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import scale_loss
from entrojax.types import Array, Objective, ScoredTokens


class MissingStepsError(ValueError):
  """A member of the chain needs step_ok and none was given."""


def negative_sample_augmentation(*, beta: float = 0.5) -> Objective:
  """Makes the weighting; put it right after a surrogate.

  Marks count where the advantage is negative: those in right responses do not.

  Args:
    beta: what is left of the advantage, in [-1, 1].
  """
  if not -1 <= beta <= 1:
    raise ValueError(
      f"negative_sample_augmentation.beta must lie in [-1, 1], got {beta}"
    )

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    negative = tokens.advantages < 0
    marked = (_steps(tokens) > 0) & negative
    metrics = {
      "negative_sample_augmentation/touched": share_metric(marked, tokens.mask),
      "negative_sample_augmentation/right_in_wrong": mean_metric(
        marked.astype(jnp.float32), tokens.mask * negative
      ),
    }
    return scale_loss(token_loss, jnp.where(marked, beta, 1.0), metrics)

  return objective


def _steps(tokens: ScoredTokens) -> Array:
  if tokens.step_ok is None:
    raise MissingStepsError(
      "negative_sample_augmentation needs step_ok: no judge has read the "
      "responses"
    )
  return tokens.step_ok
