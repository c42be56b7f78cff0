"""Clip-Cov and KL-Cov: the few tokens that drain the entropy are held back.

    cov = (log pi - mean log pi) (A - mean A)        over the whole mini-batch
    Clip-Cov:  L = max(-A r, -A clip(r)) (1 - S),    S drawn where cov in bounds
    KL-Cov:    L = -A r + kl_coef |log r| S,         S the highest cov

"The Entropy Mechanism", arXiv 2505.22617 (KL-Cov: eq. 14), and its released
code.
Each is a surrogate of its own: it begins a chain, in the place of ppo_clip. S
is a constant; denominators count every response token.
"""

from collections.abc import Callable
import warnings

import jax.numpy as jnp

from entrojax.entropy.covariance import token_covariance
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import add_penalty, add_term
from entrojax.objectives.reference_kl import absolute, k2, k3
from entrojax.objectives.selection import floor_share, highest, random_subset
from entrojax.objectives.surrogates import (
  clipped_loss,
  probability_ratio,
  unclipped_loss,
)
from entrojax.types import Array, Objective

_LARGE_FRACTION = 0.05


def clip_cov(
  *,
  fraction: float = 2e-4,
  cov_low: float = 1.0,
  cov_high: float = 5.0,
  clip_low: float = 1.0,
  clip_high: float = 1.0,
) -> Objective:
  """Makes Clip-Cov: a random few of the tokens of high covariance are dropped.

  The value of a dropped token is 0, as in the released code; the paper's
  listing keeps the value and drops the gradient alone.

  Args:
    fraction: of all response tokens, how many to drop: max(1, floor(f N)), as
      far as there are candidates; 0 = none.
    cov_low: candidates have a covariance above it, nats.
    cov_high: and below it, nats. Tokens that PPO clips are no candidates.
    clip_low: the ratio is clipped below at 1 - clip_low, in [0, 1].
    clip_high: and above at 1 + clip_high, >= 0; 1 and 1 in the scripts of the
      paper, so that PPO's clip hardly binds.
  """
  _check_fraction("clip_cov.fraction", fraction)
  if not cov_low < cov_high:
    raise ValueError(
      f"clip_cov.cov_low must be below cov_high = {cov_high}, got {cov_low}"
    )
  if not 0 <= clip_low <= 1:
    raise ValueError(f"clip_cov.clip_low must lie in [0, 1], got {clip_low}")
  if clip_high < 0:
    raise ValueError(f"clip_cov.clip_high must be >= 0, got {clip_high}")

  def objective(tokens, token_loss, coefficient, key):
    del coefficient
    ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
    plain = unclipped_loss(ratio, tokens.advantages)
    clipped = clipped_loss(
      ratio, tokens.advantages, clip_low=clip_low, clip_high=clip_high
    )
    covariance = token_covariance(
      tokens.log_probs, tokens.advantages, tokens.mask
    )
    extreme = (cov_low < covariance) & (covariance < cov_high)
    candidates = tokens.mask * (extreme & (clipped <= plain))
    k = floor_share(fraction, jnp.sum(tokens.mask))
    dropped = random_subset(key, candidates, k)
    loss = jnp.maximum(plain, clipped) * (1 - dropped)
    metrics = {
      "actor/pg_clipfrac": share_metric(clipped > plain, tokens.mask),
      "actor/pg_loss": mean_metric(loss, tokens.mask),
      "clip_cov/touched": share_metric(dropped, tokens.mask),
      "clip_cov/candidates": share_metric(candidates, tokens.mask),
      "clip_cov/covariance": mean_metric(covariance, tokens.mask),
    }
    return add_term(token_loss, loss, tokens.mask, metrics)

  return objective


_KL_FORMS: dict[str, Callable[[Array], Array]] = {
  "abs": absolute,
  "k2": k2,
  "k3": k3,
}


def kl_cov(
  *, fraction: float = 2e-3, kl_coef: float = 1.0, kl_form: str = "abs"
) -> Objective:
  """Makes KL-Cov: tokens of the highest covariance are pulled back.

  The ratio is not clipped. The pull is to the sampling policy, so it needs
  more than one update per rollout batch: at the first it is 0.

  Args:
    fraction: of all response tokens, how many to pull: max(1, floor(f N)); 0 =
      none. Where all covariances are equal (no advantages), the first ones.
    kl_coef: loss per nat, >= 0.
    kl_form: "abs", |log pi_old - log pi|, as released; "k2" or "k3", the
      estimators of the paper's KL(pi_old || pi) on samples of pi_old.
  """
  _check_fraction("kl_cov.fraction", fraction)
  if kl_coef < 0:
    raise ValueError(f"kl_cov.kl_coef must not be negative, got {kl_coef}")
  if kl_form not in _KL_FORMS:
    raise ValueError(
      f"kl_cov.kl_form must be one of {sorted(_KL_FORMS)}, got {kl_form!r}"
    )

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
    covariance = token_covariance(
      tokens.log_probs, tokens.advantages, tokens.mask
    )
    k = floor_share(fraction, jnp.sum(tokens.mask))
    pulled = highest(covariance, tokens.mask, k)
    kl = pulled * _KL_FORMS[kl_form](tokens.old_log_probs - tokens.log_probs)
    loss = unclipped_loss(ratio, tokens.advantages)
    token_loss = add_penalty(token_loss, kl_coef * kl, tokens.mask, {})
    metrics = {
      "actor/pg_loss": mean_metric(loss, tokens.mask),
      "kl_cov/touched": share_metric(pulled, tokens.mask),
      "kl_cov/kl": mean_metric(kl, pulled),
      "kl_cov/covariance": mean_metric(covariance, tokens.mask),
    }
    return add_term(token_loss, loss, tokens.mask, metrics)

  return objective


def _check_fraction(name: str, fraction: float) -> None:
  """Refuses what is no fraction, and warns of what looks like a percentage."""
  if not 0 <= fraction <= 1:
    raise ValueError(f"{name} must lie in [0, 1], got {fraction}")
  if fraction > _LARGE_FRACTION:
    warnings.warn(
      f"{name} = {fraction} touches {fraction:.0%} of all tokens, the paper "
      "0.02% to 0.2%: a percent was meant? It is a fraction",
      stacklevel=3,
    )
