"""STARE: while entropy is low, rare tokens of right answers count more.

    L <- positive_weight L   on the most surprising `fraction` of tokens, A > 0
    L <- negative_weight L   on the most surprising `fraction` of tokens, A < 0
    both only while the mini-batch's mean H_old < target

STARE, arXiv 2606.19236, and its released code; surprise is -log pi. Weights are
constants, denominators count every token.
"""

import jax.numpy as jnp

from entrojax.masking import masked_mean, scalar_metric, share_metric
from entrojax.objectives.chain import scale_loss
from entrojax.selection import ceil_share, highest
from entrojax.types import Objective


def stare(
  *,
  target: float = 0.3,
  fraction: float = 0.1,
  positive_weight: float = 1.1,
  negative_weight: float = 1.0,
) -> Objective:
  """Makes the weighting; put it right after a surrogate.

  Deviation: weights are constants of the run; the released code can move them
  by 0.01 an update towards the target.

  Args:
    target: weights are 1 while entropy is at or above it, nats, >= 0.
    fraction: of the tokens of one sign of advantage, in [0, 1].
    positive_weight: >= 0; 1.1 in the paper, 1.05 at 14B and above.
    negative_weight: >= 0; 1 = off, 0.9 in the paper's second variant.
  """
  for name, value in (
    ("target", target),
    ("positive_weight", positive_weight),
    ("negative_weight", negative_weight),
  ):
    if value < 0:
      raise ValueError(f"stare.{name} must not be negative, got {value}")
  if not 0 <= fraction <= 1:
    raise ValueError(f"stare.fraction must lie in [0, 1], got {fraction}")

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    low = masked_mean(tokens.old_entropy, tokens.mask) < target
    weight = jnp.ones_like(tokens.mask)
    for side, value in (
      (tokens.advantages > 0, positive_weight),
      (tokens.advantages < 0, negative_weight),
    ):
      candidates = tokens.mask * side
      k = ceil_share(fraction, jnp.sum(candidates))
      selected = highest(-tokens.log_probs, candidates, k)
      weight = jnp.where(low & (selected > 0), value, weight)
    metrics = {
      "stare/touched": share_metric(weight != 1, tokens.mask),
      "stare/active": scalar_metric(low),
    }
    return scale_loss(token_loss, weight, metrics)

  return objective
