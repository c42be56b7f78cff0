"""Off-policy sequence masking: drop wrong responses that have become unlikely.

    D_i = mean_t (log pi_old - log pi)     over the tokens of row i, a constant
    L <- 0  where A < 0 and D_i > threshold

DeepSeek-V3.2, arXiv 2512.02556, equation 9, as in TRL and slime. D estimates
the KL divergence from the policy to the one that sampled. Responses that were
wrong, and that the policy has moved away from already, teach little and disturb
the training. The denominator still counts them. Put it after a surrogate; terms
that earlier members have added are masked, and penalties are not.
"""

import jax

from entrojax.arguments import require_at_least
from entrojax.masking import masked_mean, share_metric
from entrojax.objectives.chain import scale_loss
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective


@ObjectiveTraits(kind="transform", inert_on_policy=True)
def off_policy_mask(*, threshold: float = 0.03) -> Objective:
  """Build the masking; put it right after a surrogate.

  Args:
    threshold: rows with A < 0 and a larger D are dropped, nats per token, >= 0.
      The paper does not give its value. TRL suggests 0.5, and AgileRL's default
      is 0.03.
  """
  require_at_least("off_policy_mask.threshold", threshold, 0, or_inf=True)

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    moved = tokens.old_log_probs - jax.lax.stop_gradient(tokens.log_probs)
    distance = masked_mean(moved, tokens.mask, axis=1)[:, None]
    dropped = (tokens.advantages < 0) & (distance > threshold)
    kept = 1 - dropped.astype(tokens.mask.dtype)
    metrics = {"off_policy_mask/touched": share_metric(dropped, tokens.mask)}
    return scale_loss(token_loss, kept, metrics)

  return objective
