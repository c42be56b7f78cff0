"""Clip-Cov and KL-Cov: hold back the few tokens that drain the entropy.

    cov = (log pi - mean log pi) (A - mean A)        over the whole mini-batch
    Clip-Cov:  L = max(-A r, -A clip(r)) (1 - S)
    KL-Cov:    L = -A r,  and the penalty  kl_coef |log r| S

S, f32[B, T], is a constant and 1 on the selected tokens, a small `fraction` of
all response tokens. Clip-Cov selects at random among the tokens with cov in
(cov_low, cov_high) that PPO's clip leaves alone. KL-Cov selects the tokens of
highest cov; |log r| is the default of its `kl_form`. No transform reweights the
penalty. Denominators count every response token.

"The Entropy Mechanism", arXiv 2505.22617 (KL-Cov: eq. 14), and its released
code. Both are surrogates: they begin a chain in place of ppo_clip.

Deviation: log r is clipped to +-20, as in ppo_clip; a token beyond
that has no gradient of -A r. The released losses do not clip it.
"""

from collections.abc import Callable
import warnings

import jax.numpy as jnp

from entrojax.arguments import (
  is_traced,
  require,
  require_at_least,
  require_in,
  require_one_of,
)
from entrojax.entropy.covariance import token_covariance
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import add_penalty, add_term
from entrojax.objectives.reference_kl import absolute, k2, k3
from entrojax.objectives.selection import floor_share, highest, random_subset
from entrojax.objectives.surrogates import (
  clipped_loss,
  larger_loss,
  probability_ratio,
  unclipped_loss,
)
from entrojax.traits import ObjectiveTraits, other_than
from entrojax.types import Array, Objective

_LARGE_FRACTION = 0.05


@ObjectiveTraits(
  kind="surrogate",
  acts_on_entropy=other_than(fraction=0),
)
def clip_cov(
  *,
  fraction: float = 2e-4,
  cov_low: float = 1.0,
  cov_high: float = 5.0,
  clip_low: float = 1.0,
  clip_high: float = 1.0,
) -> Objective:
  """Build Clip-Cov: drop a few random tokens of high covariance.

  Deviation: the value of a dropped token is 0, as in the released code. The
  paper's listing keeps the value and drops only the gradient.

  Args:
    fraction: share of all response tokens to drop, in [0, 1]: max(1, floor(f
      N)) of N tokens, or all candidates if there are fewer; 0 = none.
    cov_low: candidates have a covariance above this, nats. Tokens that PPO
      clips are not candidates.
    cov_high: candidates have a covariance below this, nats.
    clip_low: the ratio is clipped below at 1 - clip_low, in [0, 1].
    clip_high: the ratio is clipped above at 1 + clip_high, >= 0. The paper's
      scripts set both to 1, so that PPO's clip hardly binds.

  Returns:
    A surrogate, an Objective that adds the term L.
  """
  _require_fraction("clip_cov.fraction", fraction)
  require(
    cov_low < cov_high,
    f"clip_cov.cov_low must be below cov_high = {cov_high}, got {cov_low}",
  )
  require_in("clip_cov.clip_low", clip_low, "[0, 1]")
  require_at_least("clip_cov.clip_high", clip_high, 0, or_inf=True)

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
    loss = larger_loss(plain, clipped) * (1 - dropped)
    metrics = {
      "actor/pg_clipfrac": share_metric(clipped > plain, tokens.mask),
      "actor/pg_loss": mean_metric(loss, tokens.mask),
      "clip_cov/touched": share_metric(dropped, tokens.mask),
      "clip_cov/candidates": share_metric(candidates, tokens.mask),
      "clip_cov/covariance": mean_metric(covariance, tokens.mask),
    }
    stopped = (clipped > plain) | (dropped > 0)
    return add_term(token_loss, loss, tokens.mask, metrics, stopped=stopped)

  return objective


# Each is a function of x = log pi_old - log pi.
_KL_FORMS: dict[str, Callable[[Array], Array]] = {
  "abs": absolute,
  "k2": k2,
  "k3": k3,
}


@ObjectiveTraits(
  kind="surrogate",
  inert_on_policy=True,
  acts_on_entropy=other_than(fraction=0),
)
def kl_cov(
  *, fraction: float = 2e-3, kl_coef: float = 1.0, kl_form: str = "abs"
) -> Objective:
  """Build KL-Cov: pull the tokens of highest covariance back.

  The ratio is not clipped. The pull is towards the sampling policy, so it is 0
  at the first update after a rollout and needs more than one update per
  rollout batch.

  Args:
    fraction: share of all response tokens to pull, in [0, 1]: max(1, floor(f
      N)) of N tokens; 0 = none. If all covariances are equal (no advantages),
      the first tokens are pulled.
    kl_coef: loss per nat, >= 0.
    kl_form: "abs" is |log pi_old - log pi|, as released. "k2" and "k3" are
      estimators of the paper's KL(pi_old || pi) on samples of pi_old.

  Returns:
    A surrogate, an Objective that adds the term -A r and the pull as a
    penalty, >= 0.
  """
  _require_fraction("kl_cov.fraction", fraction)
  require_at_least("kl_cov.kl_coef", kl_coef, 0)
  require_one_of("kl_cov.kl_form", kl_form, _KL_FORMS)

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
    return add_term(token_loss, loss, tokens.mask, metrics, stopped=False)

  return objective


def _require_fraction(name: str, fraction: float) -> None:
  """Raise ValueError outside [0, 1]; warn if it looks like a percentage."""
  require_in(name, fraction, "[0, 1]")
  if not is_traced(fraction) and fraction > _LARGE_FRACTION:
    warnings.warn(
      f"{name} = {fraction} touches {fraction:.0%} of all tokens, the paper "
      "0.02% to 0.2%. It is a fraction: was a percentage meant?",
      stacklevel=3,
    )
