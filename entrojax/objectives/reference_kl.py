"""A penalty on the divergence from the reference policy.

    x = log pi - log pi_ref
    k1 = x;  k2 = x^2 / 2;  k3 = exp(-x) + x - 1
    penalty = kl_coef k,  or  kl_coef exp(log pi - log pi_old) k

The penalty is added to the loss of each response token, and no transform
reweights it. k1, k2 and k3 estimate KL(pi || pi_ref); they are from J.
Schulman, "Approximating KL divergence" (2020). The setting `estimator` chooses
one of them as k, by default k3. log pi, log pi_ref and log pi_old, the sampling
policy's, are f32[B, T] in nats. The penalties of sent.py and cov.py use the
functions of this file as well.

The value of an estimator may be unbiased while its gradient is not the KL's.
The expected gradient of k1 is 0, and k3 has the forward KL's gradient. With the
ratio as a weight (`ratio_weighted`), the sampling distribution is
differentiated too, and the expected gradient of k1 and k3 is the KL's.

Deviation: k3 is capped at 10 nats, as in verl, and has no gradient above. The
note, DeepSeek-V3.2 (arXiv 2512.02556) and TRL do not cap it.
"""

from collections.abc import Callable, Mapping
from typing import Any
import warnings

import jax
import jax.numpy as jnp

from entrojax.arguments import require_at_least, require_one_of
from entrojax.masking import mean_metric
from entrojax.objectives.chain import add_penalty
from entrojax.objectives.surrogates import probability_ratio
from entrojax.traits import ObjectiveTraits, Surroundings
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
}


def _check_gradient(
  settings: Mapping[str, Any], surroundings: Surroundings
) -> None:
  """Warn of an estimator whose expected gradient vanishes."""
  del surroundings
  if settings["estimator"] == "k1" and not settings["ratio_weighted"]:
    warnings.warn(
      "reference_kl.estimator is 'k1', whose expected gradient in a loss is 0: "
      "it would add noise and hold nothing. Take 'k2' or 'k3', or set "
      "reference_kl.ratio_weighted to True, which gives the KL's own gradient",
      stacklevel=6,
    )


@ObjectiveTraits(kind="penalty", check=_check_gradient)
def reference_kl(
  *,
  kl_coef: float = 1e-3,
  estimator: str = "k3",
  ratio_weighted: bool = False,
) -> Objective:
  """Build the KL penalty; put it after a surrogate.

  Args:
    kl_coef: loss per nat, >= 0; more holds the policy nearer to the reference.
    estimator: "k1", "k2" or "k3".
    ratio_weighted: whether k is multiplied by the probability ratio to the
      sampling policy. Its gradient is then unbiased with k1 and k3.

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
    metrics = {"actor/kl_loss": mean_metric(kl, tokens.mask)}
    if ratio_weighted:
      kl *= probability_ratio(tokens.log_probs, tokens.old_log_probs)
    return add_penalty(token_loss, kl_coef * kl, tokens.mask, metrics)

  return objective
