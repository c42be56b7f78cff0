"""A penalty on the divergence from the reference policy, x = log pi - log ref.

    k1 = x;  k2 = x^2 / 2;  k3 = exp(-x) + x - 1

Estimators: J. Schulman, "Approximating KL divergence" (2020). The loss adds
kl_coef * aggregate(k) over all response tokens.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from entrojax.masking import mean_metric
from entrojax.objectives.chain import add_penalty
from entrojax.types import Array, Objective, ScoredTokens


def k1(x: Array) -> Array:
  """Returns x: unbiased, of any sign; its on-policy gradient averages to 0."""
  return x


def k2(x: Array) -> Array:
  """Returns x^2 / 2: its on-policy gradient is the reverse KL's."""
  return 0.5 * jnp.square(x)


def k3(x: Array) -> Array:
  """Returns exp(-x) + x - 1 >= 0, x clipped to +-20 and the value to 10."""
  x = jnp.clip(x, -20.0, 20.0)
  return jnp.minimum(jnp.exp(-x) + x - 1.0, 10.0)


def absolute(x: Array) -> Array:
  """Returns |x| with gradient 0 at 0, where jnp.abs has +1.

  At the first update after a rollout, current and sampling policy are the same
  and x is 0 everywhere: a penalty must not push there.
  """
  return x * jax.lax.stop_gradient(jnp.sign(x))


class MissingReferenceError(ValueError):
  """A member of the chain needs ref_log_probs and none were given."""


def reference_log_probs(tokens: ScoredTokens, member: str) -> Array:
  """Returns the reference policy's log-probs, nats.

  Raises:
    MissingReferenceError: there are none; the message names the member.
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
}


def reference_kl(*, kl_coef: float, estimator: str = "k3") -> Objective:
  """Makes the penalty; `kl_coef` >= 0, `estimator` k1, k2 or k3."""
  if not kl_coef >= 0:
    raise ValueError(f"kl_coef must not be negative, got {kl_coef}")
  if estimator not in _ESTIMATORS:
    raise ValueError(
      f"estimator must be one of {sorted(_ESTIMATORS)}, got {estimator!r}"
    )

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    reference = reference_log_probs(tokens, "reference_kl")
    kl = _ESTIMATORS[estimator](tokens.log_probs - reference)
    metrics = {"actor/kl_loss": mean_metric(kl, tokens.mask)}
    return add_penalty(token_loss, kl_coef * kl, tokens.mask, metrics)

  return objective
