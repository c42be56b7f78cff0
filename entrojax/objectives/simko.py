"""SimKO: share what a right token gains with the likeliest alternatives.

At the peak tokens of a response, the `fraction` of highest entropy:

    right (A > 0):  r <- (1 - mix) r + mix / K sum_k sg(r / r_k) r_k
    wrong (A < 0):  A <- wrong_weight A, if the token is the likeliest one

and then PPO's loss max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)). r_k =
pi / pi_old of the k-th likeliest token, and sg stops the gradient. The new r
therefore has the value of r, and a share `mix` of its gradient goes to the K
likeliest tokens. SimKO, arXiv 2510.14807, and its released code.

Because of sg, r_k may be any function with the gradient r_k d log pi_k: here it
is pi_k / sg(pi_k), which needs no statistic of the old policy. The released
code adds 1e-8 to a denominator, which changes the value by as much.

Deviation: tokens whose entropy equals the quantile are peak tokens, too; the
code leaves them out.
"""

import jax
import jax.numpy as jnp

from entrojax.arguments import require_at_least, require_in
from entrojax.entropy.statistics import top_log_probs
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import add_term
from entrojax.objectives.reading import reading, statistic_of
from entrojax.objectives.selection import above_quantile
from entrojax.objectives.surrogates import (
  clipped_loss,
  larger_loss,
  probability_ratio,
  unclipped_loss,
)
from entrojax.traits import ObjectiveTraits, other_than
from entrojax.types import Objective

_SAME = 1e-6  # nats, the rounding of two log-probs of one token


@ObjectiveTraits(
  kind="surrogate",
  clips_tokens=True,
  acts_on_entropy=other_than(mix=0, wrong_weight=1),
)
def simko(
  *,
  top_k: int = 3,
  mix: float = 0.01,
  fraction: float = 0.2,
  wrong_weight: float = 1.1,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Objective:
  """Build SimKO's surrogate.

  Args:
    top_k: K, the number of likeliest tokens, >= 1.
    mix: their share of the gradient of a right peak token, in [0, 1].
    fraction: share of a response's tokens that are peak tokens, in (0, 1];
      1 - tau of the released code.
    wrong_weight: weight of a wrong peak token that is the likeliest one, >= 0.
    clip_low: the ratio is clipped below at 1 - clip_low, in [0, 1].
    clip_high: the ratio is clipped above at 1 + clip_high, >= 0.

  Returns:
    A surrogate, an Objective that reads top_log_probs(top_k).
  """
  require_in("simko.mix", mix, "[0, 1]")
  require_in("simko.fraction", fraction, "(0, 1]")
  require_at_least("simko.wrong_weight", wrong_weight, 0)
  require_in("simko.clip_low", clip_low, "[0, 1]")
  require_at_least("simko.clip_high", clip_high, 0, or_inf=True)
  statistic = top_log_probs(top_k)

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    constant = jax.lax.stop_gradient
    top = statistic_of(tokens, statistic, "simko")
    peak = jax.vmap(above_quantile, (0, 0, None))(
      tokens.entropy, tokens.mask, fraction
    )
    ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
    shared = constant(ratio) * jnp.mean(jnp.exp(top - constant(top)), axis=-1)
    share = mix * peak * (tokens.advantages > 0)
    ratio = (1 - share) * ratio + share * shared
    is_top = constant(top[..., 0] - tokens.log_probs) <= _SAME
    heavy = peak * is_top * (tokens.advantages < 0)
    advantages = tokens.advantages * jnp.where(heavy > 0, wrong_weight, 1.0)
    plain = unclipped_loss(ratio, advantages)
    clipped = clipped_loss(
      ratio, advantages, clip_low=clip_low, clip_high=clip_high
    )
    loss = larger_loss(plain, clipped)
    metrics = {
      "actor/pg_clipfrac": share_metric(clipped > plain, tokens.mask),
      "actor/pg_loss": mean_metric(loss, tokens.mask),
      "simko/shared": share_metric(share > 0, tokens.mask),
      "simko/heavy": share_metric(heavy > 0, tokens.mask),
    }
    return add_term(
      token_loss, loss, tokens.mask, metrics, stopped=clipped > plain
    )

  return reading(objective, statistic)
