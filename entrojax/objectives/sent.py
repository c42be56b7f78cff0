"""SENT's token level: a KL penalty on tokens of low entropy.

    L = beta_t KL_t,     beta_t = beta_high  low entropy, high covariance
                                  beta_low   low entropy, the others
                                  0          elsewhere

SENT, arXiv 2512.04359, and its released code, which does something else: two
functions. Both are terms to add after a surrogate. The sets are constants,
taken over the whole mini-batch by rank, so that ties split by place and equal
entropies do not empty them; denominators count every token.
"""

import jax.numpy as jnp

from entrojax.entropy.covariance import token_covariance
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import add_penalty
from entrojax.objectives.reference_kl import absolute, k3, reference_log_probs
from entrojax.objectives.selection import floor_share, highest
from entrojax.types import Array, Metrics, Objective, ScoredTokens


def sent(
  *,
  low_fraction: float = 0.8,
  cov_fraction: float = 2e-4,
  beta_low: float = 0.05,
  beta_high: float = 0.2,
) -> Objective:
  """Makes the paper's penalty, KL (k3) to the reference policy.

  Covariance is that of token_covariance over the tokens with A != 0: a group
  without a signal does not move the means. High covariance is positive
  covariance at least: where all A are equal, no token is of high covariance.

  Deviation: the paper's thresholds and betas are not known to us; the defaults
  are the constants of the released code.

  Args:
    low_fraction: of all response tokens, how many are of low entropy:
      max(1, floor(f N)), in [0, 1]; 0 = none.
    cov_fraction: of those, how many are of high covariance, likewise.
    beta_low: loss per nat, >= 0.
    beta_high: loss per nat, >= 0; above beta_low in the paper.
  """
  _check("sent", low_fraction, cov_fraction, beta_low, beta_high)
  if beta_high < beta_low:
    raise ValueError(
      f"sent.beta_high = {beta_high} must not be below beta_low = {beta_low}"
    )

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    reference = reference_log_probs(tokens, "sent")
    low = _low_entropy(tokens, low_fraction)
    covariance = _signal_covariance(tokens)
    k = floor_share(cov_fraction, jnp.sum(low))
    high = highest(covariance, low * (covariance > 0), k)
    beta = jnp.where(high > 0, beta_high, beta_low * low)
    kl = k3(tokens.log_probs - reference)
    metrics = _metrics("sent", tokens, low, high, kl)
    return add_penalty(token_loss, beta * kl, tokens.mask, metrics)

  return objective


def sent_released(
  *,
  low_fraction: float = 0.8,
  cov_fraction: float = 2e-4,
  beta_low: float = 0.05,
  beta_high: float = 0.2,
) -> Objective:
  """Makes the released code's penalty, |log pi - log pi_old|, on few tokens.

  Of the tokens of low entropy, those of highest covariance are pulled to the
  sampling policy with beta_high, those of lowest covariance with beta_low, a
  token of both with beta_low, and all others not at all. The covariance is
  centred within the low set. It needs more than one update per rollout batch:
  at the first it is 0.

  The released surrogate is not clipped (kl_cov with fraction 0 is that), and
  reference_kl with kl_coef 1e-3 stands beside it.

  Deviation: the released code indexes with an integer mask, so that its
  covariances belong to other tokens; this is what it means to do.

  Args:
    low_fraction: as in sent.
    cov_fraction: of the low set, how many at either end: max(1, floor(f n)).
    beta_low: loss per nat, >= 0; 0.1 * 0.5 as released.
    beta_high: loss per nat, >= 0; 0.1 * 2 as released.
  """
  _check("sent_released", low_fraction, cov_fraction, beta_low, beta_high)

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    low = _low_entropy(tokens, low_fraction)
    covariance = token_covariance(tokens.log_probs, tokens.advantages, low)
    k = floor_share(cov_fraction, jnp.sum(low))
    top, bottom = highest(covariance, low, k), highest(-covariance, low, k)
    beta = jnp.where(bottom > 0, beta_low, beta_high * top)
    kl = absolute(tokens.log_probs - tokens.old_log_probs)
    touched = jnp.maximum(top, bottom)
    metrics = _metrics("sent_released", tokens, touched, top, kl)
    return add_penalty(token_loss, beta * kl, tokens.mask, metrics)

  return objective


def _check(
  name: str,
  low_fraction: float,
  cov_fraction: float,
  beta_low: float,
  beta_high: float,
) -> None:
  for leaf, value in (
    ("low_fraction", low_fraction),
    ("cov_fraction", cov_fraction),
  ):
    if not 0 <= value <= 1:
      raise ValueError(f"{name}.{leaf} must lie in [0, 1], got {value}")
  for leaf, value in (("beta_low", beta_low), ("beta_high", beta_high)):
    if not value >= 0:
      raise ValueError(f"{name}.{leaf} must not be negative, got {value}")


def _low_entropy(tokens: ScoredTokens, fraction: float) -> Array:
  """Selects the `fraction` of tokens of lowest entropy."""
  k = floor_share(fraction, jnp.sum(tokens.mask))
  return highest(-tokens.entropy, tokens.mask, k)


def _signal_covariance(tokens: ScoredTokens) -> Array:
  """Returns the covariance over tokens with A != 0, exactly 0 if A is one."""
  advantages = tokens.advantages
  counted = tokens.mask * (advantages != 0)
  covariance = token_covariance(tokens.log_probs, advantages, counted)
  # the mean of equal numbers is off by rounding, the spread is not
  lowest = jnp.min(jnp.where(counted > 0, advantages, jnp.inf))
  largest = jnp.max(jnp.where(counted > 0, advantages, -jnp.inf))
  return jnp.where(largest > lowest, covariance, 0.0)


def _metrics(
  name: str, tokens: ScoredTokens, touched: Array, high: Array, kl: Array
) -> Metrics:
  return {
    f"{name}/touched": share_metric(touched, tokens.mask),
    f"{name}/high_touched": share_metric(high, tokens.mask),
    f"{name}/kl": mean_metric(kl, touched),
  }
