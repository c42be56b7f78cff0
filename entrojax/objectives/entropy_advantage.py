"""Entropy as advantage: add a bonus to the advantage of uncertain tokens.

    A' = A + min(alpha H, |A| / kappa);   L <- (A' / A) L

So tokens of high entropy are reinforced more where A > 0, and pushed down less
where A < 0. A surrogate's term is A f(sign of A, log-probs). Because kappa > 1,
A' has the sign of A, and scaling the term by A' / A is the same as replacing A
by A'. No gradient flows through A'. Where A = 0, nothing changes. Penalties,
and the choice of tokens in clip_cov and kl_cov, still depend on A alone. arXiv
2506.14758.
"""

import jax.numpy as jnp

from entrojax.arguments import require_at_least, require_in
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import scale_loss
from entrojax.traits import ObjectiveTraits
from entrojax.types import Array, Objective


def advantage_ratio(
  entropy: Array, advantages: Array, *, alpha: float, kappa: float
) -> Array:
  """Compute A' / A, and 1 where A is 0.

  Args:
    entropy: f32[B, T], nats.
    advantages: f32[B, T].
    alpha: advantage per nat, >= 0.
    kappa: the bonus is at most |A| / kappa, > 1.

  Returns:
    f32[B, T], above 1 where A > 0 and in (0, 1) where A < 0, unless H is 0.
  """
  size = jnp.abs(advantages)
  safe = jnp.where(size > 0, size, 1.0)
  bonus = jnp.minimum(alpha * entropy / safe, 1 / kappa)
  return 1 + jnp.where(size > 0, jnp.sign(advantages) * bonus, 0.0)


@ObjectiveTraits(kind="transform")
def entropy_advantage(*, alpha: float = 0.4, kappa: float = 2.0) -> Objective:
  """Build the scaling by A' / A; put it right after a surrogate, not kl_cov.

  The penalty of KL-Cov does not contain A. Besides, clip_cov and kl_cov select
  their tokens by A, not by A'.

  Args:
    alpha: advantage per nat, >= 0. The paper uses 0.4 with GRPO and 0.1 with
      PPO.
    kappa: the bonus is at most |A| / kappa, > 1.

  Returns:
    A transform, an Objective that multiplies each loss by A' / A.
  """
  require_at_least("entropy_advantage.alpha", alpha, 0)
  require_in("entropy_advantage.kappa", kappa, "(1, inf]")

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    ratio = advantage_ratio(
      tokens.entropy, tokens.advantages, alpha=alpha, kappa=kappa
    )
    bonus = tokens.advantages * (ratio - 1)
    metrics = {
      "entropy_advantage/bonus": mean_metric(bonus, tokens.mask),
      "entropy_advantage/touched": share_metric(bonus > 0, tokens.mask),
    }
    return scale_loss(token_loss, ratio, metrics)

  return objective
