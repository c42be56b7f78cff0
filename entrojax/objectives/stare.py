"""STARE: while entropy is low, rare tokens of right answers count more.

    L <- positive_weight L   on the most surprising `fraction` of tokens, A > 0
    L <- negative_weight L   on the most surprising `fraction` of tokens, A < 0
    both only while the mini-batch's mean H_old < target

STARE, arXiv 2606.19236, and its released code; surprise is -log pi. The weights
are constants of the run (stare) or follow a controller (adaptive_stare); no
gradient flows through them. Denominators count every token.
"""

import jax.numpy as jnp

from entrojax.masking import masked_mean, scalar_metric, share_metric
from entrojax.objectives.chain import driven, scale_loss
from entrojax.objectives.selection import ceil_share, highest
from entrojax.types import Array, Objective, ScoredTokens, TokenLoss


def stare(
  *,
  target: float = 0.3,
  fraction: float = 0.1,
  positive_weight: float = 1.1,
  negative_weight: float = 1.0,
) -> Objective:
  """Makes the weighting by constants; put it right after a surrogate.

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
    return _weighted(
      tokens,
      token_loss,
      target,
      fraction,
      ((1, positive_weight), (-1, negative_weight)),
    )

  return objective


def adaptive_stare(
  *,
  target: float = 0.3,
  fraction: float = 0.1,
  negative_strength: float = 0.0,
) -> Objective:
  """Makes the weighting by control.stare_weights; put it after a surrogate.

      positive_weight = c;  negative_weight = 1 - negative_strength (c - 1)

  The released code moves the two weights by the same steps between mirrored
  bounds: started as mirror images, they stay so at a strength of 1.

  Args:
    target: as in stare, and the controller's.
    fraction: as in stare.
    negative_strength: in [0, 2]; 0 = off, 1 = the paper's second variant.
  """
  if target < 0:
    raise ValueError(
      f"adaptive_stare.target must not be negative, got {target}"
    )
  for name, value, most in (
    ("fraction", fraction, 1),
    ("negative_strength", negative_strength, 2),
  ):
    if not 0 <= value <= most:
      raise ValueError(
        f"adaptive_stare.{name} must lie in [0, {most}], got {value}"
      )

  def objective(tokens, token_loss, coefficient, key):
    del key
    coefficient = driven(coefficient, "adaptive_stare")
    weights = (
      (1, coefficient),
      (-1, 1 - negative_strength * (coefficient - 1)),
    )
    return _weighted(tokens, token_loss, target, fraction, weights)

  return objective


def _weighted(
  tokens: ScoredTokens,
  token_loss: TokenLoss,
  target: float,
  fraction: float,
  weights: tuple[tuple[int, Array | float], ...],
) -> TokenLoss:
  """Weighs the rare tokens of each sign of advantage, while entropy is low."""
  low = masked_mean(tokens.old_entropy, tokens.mask) < target
  weight = jnp.ones_like(tokens.mask)
  for sign, value in weights:
    candidates = tokens.mask * (jnp.sign(tokens.advantages) == sign)
    k = ceil_share(fraction, jnp.sum(candidates))
    selected = highest(-tokens.log_probs, candidates, k)
    weight = jnp.where(low & (selected > 0), value, weight)
  metrics = {
    "stare/touched": share_metric(weight != 1, tokens.mask),
    "stare/active": scalar_metric(low),
  }
  return scale_loss(token_loss, weight, metrics)
