"""SENT's token level: a KL penalty on tokens of low entropy.

    penalty = beta_t KL_t,   beta_t = beta_high  low entropy, high covariance
                                      beta_low   low entropy, other tokens
                                      0          elsewhere

SENT, arXiv 2512.04359. This is the paper's penalty, `sent`, and KL_t is an
estimate (k3) of the KL to the reference policy. The released code does
something else: it pulls a few low-entropy tokens of extreme covariance to the
sampling policy. That penalty is `sent_released`.

Penalties are added to the loss of each token, and no transform reweights them.
The sets of tokens are constants, selected by rank over the whole mini-batch. Of
equal entropies the first tokens are selected. Denominators count every token.
"""

import jax.numpy as jnp

from entrojax.arguments import require, require_at_least, require_in
from entrojax.entropy.covariance import token_covariance
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import add_penalty
from entrojax.objectives.reference_kl import absolute, k3, reference_log_probs
from entrojax.objectives.selection import floor_share, highest
from entrojax.traits import ObjectiveTraits
from entrojax.types import Array, Metrics, Objective, ScoredTokens


@ObjectiveTraits(kind="penalty")
def sent(
  *,
  low_fraction: float = 0.8,
  cov_fraction: float = 2e-4,
  beta_low: float = 0.05,
  beta_high: float = 0.2,
) -> Objective:
  """Build the paper's penalty, KL (k3) to the reference policy.

  The covariance is token_covariance over the tokens with A != 0, so that a
  group without a signal does not move the means. Only tokens of positive
  covariance can get beta_high. If all A are equal, there are none.

  Deviation: the paper's thresholds and betas are not known to us. The defaults
  are the constants of the released code.

  Args:
    low_fraction: share of all response tokens that count as low entropy, in
      [0, 1]: max(1, floor(f N)) of N tokens; 0 = none.
    cov_fraction: share of the low-entropy tokens that count as high covariance,
      in [0, 1]: max(1, floor(f n)) of n tokens; 0 = none.
    beta_low: strength on the other low-entropy tokens, loss per nat, >= 0.
    beta_high: strength on the tokens of high covariance, loss per nat, at least
      beta_low; above it in the paper.

  Returns:
    A penalty, an Objective that adds L >= 0.
  """
  _require_settings("sent", low_fraction, cov_fraction, beta_low, beta_high)
  require(
    beta_high >= beta_low,
    f"sent.beta_high = {beta_high} must not be below beta_low = {beta_low}",
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


@ObjectiveTraits(kind="penalty", inert_on_policy=True)
def sent_released(
  *,
  low_fraction: float = 0.8,
  cov_fraction: float = 2e-4,
  beta_low: float = 0.05,
  beta_high: float = 0.2,
) -> Objective:
  """Build the released code's penalty, |log pi - log pi_old|, on few tokens.

  Among the tokens of low entropy, the few of highest covariance are pulled to
  the sampling policy with beta_high, and the few of lowest covariance with
  beta_low. A token that is among both is pulled with beta_low, and all other
  tokens are not pulled. The means in the covariance are taken over the tokens
  of low entropy.

  At the first update after a rollout the penalty is 0, so it needs more than
  one update per rollout batch. The released surrogate is not clipped: use
  kl_cov with fraction 0, and reference_kl with kl_coef 1e-3 beside it.

  Deviation: the released code indexes with an integer mask, so its covariances
  belong to other tokens. Here each token has its own covariance, which is what
  that code intends.

  Args:
    low_fraction: share of all response tokens that count as low entropy, in
      [0, 1]: max(1, floor(f N)) of N tokens; 0 = none.
    cov_fraction: share of the low-entropy tokens that is selected at each end
      of the covariances, in [0, 1]: max(1, floor(f n)) of n tokens; 0 = none.
    beta_low: strength on the tokens of lowest covariance, loss per nat, >= 0;
      0.1 * 0.5 as released.
    beta_high: strength on the tokens of highest covariance, loss per nat, >= 0;
      0.1 * 2 as released.

  Returns:
    A penalty, an Objective that adds L >= 0.
  """
  _require_settings(
    "sent_released", low_fraction, cov_fraction, beta_low, beta_high
  )

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


def _require_settings(
  member: str,
  low_fraction: float,
  cov_fraction: float,
  beta_low: float,
  beta_high: float,
) -> None:
  """Raise ValueError for the first setting that is out of its range."""
  require_in(f"{member}.low_fraction", low_fraction, "[0, 1]")
  require_in(f"{member}.cov_fraction", cov_fraction, "[0, 1]")
  require_at_least(f"{member}.beta_low", beta_low, 0)
  require_at_least(f"{member}.beta_high", beta_high, 0)


def _low_entropy(tokens: ScoredTokens, fraction: float) -> Array:
  """Select the `fraction` of tokens of lowest entropy, f32[B, T]."""
  k = floor_share(fraction, jnp.sum(tokens.mask))
  return highest(-tokens.entropy, tokens.mask, k)


def _signal_covariance(tokens: ScoredTokens) -> Array:
  """Compute the covariance over tokens with A != 0, f32[B, T], nats.

  It is exactly 0 everywhere if all those A are equal.
  """
  advantages = tokens.advantages
  counted = tokens.mask * (advantages != 0)
  covariance = token_covariance(tokens.log_probs, advantages, counted)
  # Rounding moves the mean of equal numbers, but not their largest and lowest.
  lowest = jnp.min(jnp.where(counted > 0, advantages, jnp.inf))
  largest = jnp.max(jnp.where(counted > 0, advantages, -jnp.inf))
  return jnp.where(largest > lowest, covariance, 0.0)


def _metrics(
  member: str, tokens: ScoredTokens, touched: Array, high: Array, kl: Array
) -> Metrics:
  """Report the shares of selected tokens and the mean KL on them."""
  return {
    f"{member}/touched": share_metric(touched, tokens.mask),
    f"{member}/high_touched": share_metric(high, tokens.mask),
    f"{member}/kl": mean_metric(kl, touched),
  }
