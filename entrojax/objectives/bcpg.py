"""BCPG: an offline policy gradient with a constraint on the policy's behaviour.

    J = 1/G sum_i 1/L_i (A_i sum_t log pi - tau/2 Delta_i^2)
    Delta_i = sum_t (log pi - log pi_old),    A_i = R_i - mean R

J is maximised. The group has G responses, and response i has L_i tokens. arXiv
2505.14403, after Kimi k1.5 (arXiv 2501.12599, eq. 3). The advantage rule
dr_grpo computes these A_i; the surrogate itself takes any advantages.

The surrogate adds -A log pi as a term, which later transforms may reweight, and
the square as a penalty, which none reweights. There is no importance ratio and
no clipping. In an offline run all samples come from one policy, pi_old, however
much the trained policy has changed since, and the square keeps the two
together. The gradient of J is a plain policy gradient in which A_i - tau
Delta_i takes the place of the advantage. Delta is a sum over the response, so a
tau that suits short responses is too large for long ones: watch the metric
bcpg/log_ratio_mean, the mean of |Delta| over responses.
"""

import jax.numpy as jnp

from entrojax.arguments import require_at_least
from entrojax.masking import divide, masked_sum, mean_metric
from entrojax.objectives.chain import add_penalty, add_term
from entrojax.objectives.surrogates import reinforce_loss
from entrojax.traits import ObjectiveTraits
from entrojax.types import Mean, Objective


@ObjectiveTraits(
  kind="surrogate", inert_on_policy=True, aggregation="seq-mean-token-mean"
)
def bcpg(*, tau: float = 1e-3) -> Objective:
  """Build BCPG's surrogate; aggregate it with seq_mean_token_mean.

  With any other aggregation it would be another objective, so a config that
  names one is refused.

  Args:
    tau: strength of the constraint, >= 0, in units of reward per nat by which
      the log-prob of a response has moved.

  Returns:
    A surrogate, an Objective that adds the term -A log pi and, as a penalty,
    tau/2 Delta^2, divided equally among the tokens of the response.
  """
  require_at_least("bcpg.tau", tau, 0)

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    loss = reinforce_loss(tokens.log_probs, tokens.advantages)
    log_ratio = masked_sum(
      tokens.log_probs - tokens.old_log_probs, tokens.mask, axis=1
    )
    # equal shares for the tokens of a response: they add up to tau/2 Delta^2
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
    token_loss = add_term(token_loss, loss, tokens.mask, metrics, stopped=False)
    # A penalty, so that no transform weighs it: the constraint holds for right
    # steps as much as for wrong ones.
    return add_penalty(token_loss, constraint, tokens.mask, {})

  return objective
