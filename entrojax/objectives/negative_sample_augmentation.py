"""Negative sample augmentation: spare the right steps of wrong responses.

    L <- beta L    for tokens with A < 0 of steps judged right

With bcpg's surrogate, -A log pi, this is the paper's A <- beta A. BCPG-NSA,
arXiv 2505.14403. Judges mark the right steps of wrong responses (judges/), and
only recorded rollouts have these marks (`step_ok`). beta = 1 changes nothing,
beta = 0 leaves those tokens out of the policy gradient, and beta < 0 rewards
them. Denominators count every token, and penalties stay as they are.
"""

import jax.numpy as jnp

from entrojax.arguments import require_in
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import scale_loss
from entrojax.traits import ObjectiveTraits
from entrojax.types import Array, Objective, ScoredTokens


class MissingStepsError(ValueError):
  """Raised if a member of the chain needs step_ok, which is missing."""


@ObjectiveTraits(kind="transform", reads_steps=True)
def negative_sample_augmentation(*, beta: float = 0.5) -> Objective:
  """Build the weighting of marked tokens; put it right after a surrogate.

  A mark counts only where the advantage is negative, so marks in right
  responses have no effect.

  Args:
    beta: factor on the advantage of the marked tokens, in [-1, 1].

  Returns:
    A transform, an Objective that multiplies the loss of marked tokens by beta.
  """
  require_in("negative_sample_augmentation.beta", beta, "[-1, 1]")

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    negative = tokens.advantages < 0
    marked = (_step_marks(tokens) > 0) & negative
    metrics = {
      "negative_sample_augmentation/touched": share_metric(marked, tokens.mask),
      "negative_sample_augmentation/right_in_wrong": mean_metric(
        marked.astype(jnp.float32), tokens.mask * negative
      ),
    }
    return scale_loss(token_loss, jnp.where(marked, beta, 1.0), metrics)

  return objective


def _step_marks(tokens: ScoredTokens) -> Array:
  """Return step_ok, f32[B, T], 1 = right step, or raise if it is None."""
  if tokens.step_ok is None:
    raise MissingStepsError(
      "negative_sample_augmentation needs step_ok: no judge has read the "
      "responses"
    )
  return tokens.step_ok
