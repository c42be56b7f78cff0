"""DPPO: a trust region in probabilities instead of in ratios.

    p, q          probability of the token, current and sampling policy
    D = |p - q|   "tv", or the KL divergence from (q, 1 - q) to (p, 1 - p), "kl"
    L = -stop_gradient(min(r, max_ratio)) A log pi

A token has no gradient if it has already moved too far the way that its
advantage pushes it: A > 0, p > q and D > high, or A < 0, p < q and D > low. A
ratio limits rare tokens most, a divergence limits likely ones.

Divergence PPO with binary divergences, arXiv 2602.04879, as in verl.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from entrojax.arguments import require_at_least, require_in, require_one_of
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import add_term
from entrojax.objectives.surrogates import probability_ratio, reinforce_loss
from entrojax.traits import ObjectiveTraits, unequal
from entrojax.types import Array, Objective

_TINY = 1e-8  # added to 1 - p, which may be 0


def _total_variation(log_probs: Array, old_log_probs: Array) -> Array:
  """Compute |p - q|, the total variation of two binary distributions."""
  return jnp.abs(jnp.exp(log_probs) - jnp.exp(old_log_probs))


def _binary_kl(log_probs: Array, old_log_probs: Array) -> Array:
  """Compute KL((q, 1 - q) || (p, 1 - p)), nats."""
  q = jnp.exp(old_log_probs)
  # rounding can bring a probability above 1
  other_p = jnp.maximum(-jnp.expm1(log_probs), 0)
  other_q = jnp.maximum(-jnp.expm1(old_log_probs), 0)
  return q * (old_log_probs - log_probs) + other_q * (
    jnp.log(other_q + _TINY) - jnp.log(other_p + _TINY)
  )


_DIVERGENCES: dict[str, Callable[[Array, Array], Array]] = {
  "tv": _total_variation,
  "kl": _binary_kl,
}


@ObjectiveTraits(
  kind="surrogate",
  inert_on_policy=True,
  acts_on_entropy=unequal(("low", "high")),
)
def dppo(
  *,
  divergence: str = "tv",
  low: float = 0.15,
  high: float = 0.15,
  max_ratio: float = 20.0,
) -> Objective:
  """Build DPPO's surrogate.

  Args:
    divergence: "tv" or "kl", the D of the trust region.
    low: the largest D at which a token with A < 0 is still pushed down, >= 0.
    high: the largest D at which a token with A > 0 is still pushed up, >= 0.
      The authors take 0.15 for "tv" and 0.05 for "kl", on both sides.
    max_ratio: the weight of a token is at most this, >= 1.

  Returns:
    A surrogate, an Objective that adds the term L.
  """
  require_one_of("dppo.divergence", divergence, _DIVERGENCES)
  require_at_least("dppo.low", low, 0, or_inf=True)
  require_at_least("dppo.high", high, 0, or_inf=True)
  require_in("dppo.max_ratio", max_ratio, "[1, inf]")

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    new = jax.lax.stop_gradient(tokens.log_probs)
    old = tokens.old_log_probs
    distance = _DIVERGENCES[divergence](new, old)
    risen = (tokens.advantages > 0) & (new > old) & (distance > high)
    fallen = (tokens.advantages < 0) & (new < old) & (distance > low)
    outside = risen | fallen
    weight = jnp.minimum(probability_ratio(new, old), max_ratio)
    loss = reinforce_loss(tokens.log_probs, tokens.advantages) * weight
    loss = jnp.where(outside, 0.0, loss)
    metrics = {
      "actor/pg_clipfrac": share_metric(outside, tokens.mask),
      "actor/pg_loss": mean_metric(loss, tokens.mask),
    }
    return add_term(token_loss, loss, tokens.mask, metrics, stopped=outside)

  return objective
