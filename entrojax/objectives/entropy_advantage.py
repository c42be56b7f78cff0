"""Entropy as advantage: tokens of high entropy are worth more.

    A' = A + min(alpha H, |A| / kappa);   L <- (A' / A) L

arXiv 2506.14758. Every policy loss here is A times a function of the sign of A
and the ratio, and kappa > 1 keeps the sign: scaling the loss by A' / A is the
same as putting A' for A. A' is a constant.
"""

import jax.numpy as jnp

from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import scale_loss
from entrojax.types import Array, Objective


def shaped_share(
  entropy: Array, advantages: Array, *, alpha: float, kappa: float
) -> Array:
  """Returns A' / A, all f32[B, T], and 1 where A is 0."""
  size = jnp.abs(advantages)
  safe = jnp.where(size > 0, size, 1.0)
  bonus = jnp.minimum(alpha * entropy / safe, 1 / kappa)
  return 1 + jnp.where(size > 0, jnp.sign(advantages) * bonus, 0.0)


def entropy_advantage(*, alpha: float = 0.4, kappa: float = 2.0) -> Objective:
  """Makes the scaling; put it right after a surrogate other than kl_cov.

  KL-Cov's penalty does not contain A, and the covariance methods select by A.

  Args:
    alpha: advantage per nat, >= 0; 0.4 with GRPO in the paper, 0.1 with PPO.
    kappa: the bonus is at most |A| / kappa, > 1.
  """
  if alpha < 0:
    raise ValueError(
      f"entropy_advantage.alpha must not be negative, got {alpha}"
    )
  if not kappa > 1:
    raise ValueError(f"entropy_advantage.kappa must be above 1, got {kappa}")

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    share = shaped_share(
      tokens.entropy, tokens.advantages, alpha=alpha, kappa=kappa
    )
    bonus = tokens.advantages * (share - 1)
    metrics = {
      "entropy_advantage/bonus": mean_metric(bonus, tokens.mask),
      "entropy_advantage/touched": share_metric(bonus > 0, tokens.mask),
    }
    return scale_loss(token_loss, share, metrics)

  return objective
