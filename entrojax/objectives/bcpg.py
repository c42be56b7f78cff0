"""BCPG: an offline policy gradient with a constraint on behaviour.

    J = 1/G sum_i 1/L_i (A_i sum_t log pi - tau/2 Delta_i^2)
    Delta_i = sum_t (log pi - log pi_old),    A = R - mean: rule dr_grpo

arXiv 2505.14403, after Kimi k1.5 (arXiv 2501.12599, eq. 3). No importance
ratio and no clipping: the samples are those of one policy, pi_old, whatever
the policy has become since, and the square keeps the two together. Its gradient
is that of A_i - tau Delta_i times log pi. Delta is a sum over the response, so
a tau for short responses is too large for long ones: look at
bcpg/log_ratio_mean.
"""

import jax.numpy as jnp

from entrojax.masking import divide, masked_sum, mean_metric
from entrojax.objectives.chain import add_penalty, add_term
from entrojax.objectives.surrogates import reinforce_loss
from entrojax.types import Mean, Objective


def bcpg(*, tau: float = 1e-3) -> Objective:
  """Makes the surrogate; aggregate it with seq_mean_token_mean.

  Any other aggregation is another objective; a config that names one is
  refused.

  Args:
    tau: reward per nat that a response's log-prob has moved, >= 0.
  """
  if not tau >= 0:
    raise ValueError(f"bcpg.tau must not be negative, got {tau}")

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    loss = reinforce_loss(tokens.log_probs, tokens.advantages)
    log_ratio = masked_sum(
      tokens.log_probs - tokens.old_log_probs, tokens.mask, axis=1
    )
    # in equal shares to the tokens of its response, whose sum it then is
    lengths = jnp.sum(tokens.mask, axis=1)
    share = divide(0.5 * tau * jnp.square(log_ratio), lengths)
    constraint = jnp.broadcast_to(share[:, None], loss.shape)
    present = (lengths > 0).astype(jnp.float32)
    distance = jnp.abs(log_ratio) * present
    metrics = {
      "actor/pg_loss": mean_metric(loss, tokens.mask),
      "bcpg/constraint": mean_metric(constraint, tokens.mask),
      "bcpg/log_ratio_mean": mean_metric(distance, present),
      "bcpg/log_ratio_max": Mean(
        total=jnp.max(distance).astype(jnp.float32), count=jnp.float32(1.0)
      ),
    }
    token_loss = add_term(token_loss, loss, tokens.mask, metrics)
    # no member of the chain weighs it: a right step is as bound as a wrong one
    return add_penalty(token_loss, constraint, tokens.mask, {})

  return objective
