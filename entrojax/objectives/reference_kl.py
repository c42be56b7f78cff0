"""A penalty on the divergence from the reference policy.

    x = log pi - log pi_ref
    k1 = x;  k2 = x^2 / 2;  k3 = exp(-x) + x - 1
    penalty = kl_coef k

The penalty is added to the loss of each response token, and no transform
reweights it. k1, k2 and k3 estimate KL(pi || pi_ref); they are from J.
Schulman, "Approximating KL divergence" (2020). The setting `estimator` chooses
one of them as k, by default k3. k3 is capped at 10 nats.

Tokens are sampled from pi_old, and once pi has moved away from it no k has the
gradient of the KL. The estimator "unbiased" is r k3 with r = pi / pi_old: its
gradient averages to the gradient of KL(pi || pi_ref) after any number of updates
(DeepSeek-V3.2, arXiv 2512.02556; as in TRL, r has a gradient too).

log pi and log pi_ref are f32[B, T] in nats. The penalties of sent.py and cov.py
use the functions of this file as well.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from entrojax.arguments import require_at_least, require_one_of
from entrojax.masking import mean_metric
from entrojax.objectives.chain import add_penalty
from entrojax.objectives.surrogates import probability_ratio
from entrojax.traits import ObjectiveTraits
from entrojax.types import Array, Objective, ScoredTokens


def k1(x: Array) -> Array:
  """Return x, unbiased, of either sign.

  Its on-policy gradient averages to 0.
  """
  return x


def k2(x: Array) -> Array:
  """Compute x^2 / 2 >= 0: its on-policy gradient is the reverse KL's."""
  return 0.5 * jnp.square(x)


def k3(x: Array) -> Array:
  """Compute exp(-x) + x - 1 >= 0, with x clipped to +-20, the value to 10."""
  x = jnp.clip(x, -20.0, 20.0)
  return jnp.minimum(jnp.exp(-x) + x - 1.0, 10.0)


def absolute(x: Array) -> Array:
  """Compute |x| with gradient 0 at 0, where jnp.abs has gradient 1.

  At the first update after a rollout, the current policy is the sampling policy
  and x is 0 everywhere: a penalty must not push there.
  """
  return x * jax.lax.stop_gradient(jnp.sign(x))


class MissingReferenceError(ValueError):
  """Raised if a member of the chain needs ref_log_probs and there are none."""


def reference_log_probs(tokens: ScoredTokens, member: str) -> Array:
  """Return the reference policy's log-probs, f32[B, T], nats.

  Args:
    tokens: the mini-batch.
    member: name of the member that needs them, for the message.

  Raises:
    MissingReferenceError: the mini-batch has none.
  """
  if tokens.ref_log_probs is None:
    raise MissingReferenceError(
      f"{member} needs ref_log_probs: none were given"
    )
  return tokens.ref_log_probs


_ESTIMATORS: dict[str, Callable[[Array], Array]] = {
  "k1": k1,
  "k2": k2,
  "k3": k3,
  "unbiased": k3,  # times r
}


@ObjectiveTraits(kind="penalty")
def reference_kl(*, kl_coef: float = 1e-3, estimator: str = "k3") -> Objective:
  """Build the KL penalty; put it after a surrogate.

  Args:
    kl_coef: loss per nat, >= 0; more holds the policy nearer to the reference.
    estimator: "k1", "k2", "k3" or "unbiased".

  Returns:
    A penalty, an Objective that adds kl_coef k. It raises
    MissingReferenceError if the tokens have no ref_log_probs.
  """
  require_at_least("reference_kl.kl_coef", kl_coef, 0)
  require_one_of("reference_kl.estimator", estimator, _ESTIMATORS)

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    reference = reference_log_probs(tokens, "reference_kl")
    kl = _ESTIMATORS[estimator](tokens.log_probs - reference)
    if estimator == "unbiased":
      kl *= probability_ratio(tokens.log_probs, tokens.old_log_probs)
    metrics = {"actor/kl_loss": mean_metric(kl, tokens.mask)}
    return add_penalty(token_loss, kl_coef * kl, tokens.mask, metrics)

  return objective
