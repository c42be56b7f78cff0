"""Clip bounds that depend on a token's probability and move over the run.

    E(p) = share D(p) + (1 - share) clip     on either side
    L = max(-A r, -A clip(r, low, high))
    high: the r at which r = 1 + E_high(pi);  low: the r at which
    r = 1 - E_low(pi);  where A < 0: at most -A dual_clip

pi = r pi_old is the probability of the token under the current policy. D falls
linearly from rare tokens to likely ones, so that both bounds have a closed
form, in which only pi_old occurs. No gradient flows through them. On the upper
side, rare right tokens may rise further and likely ones less, which raises the
entropy. On the lower side, rare wrong tokens may fall further and likely ones
less, which lowers it. The shares follow schedules: the paper begins with the
upper side and ends with the lower one.

Flexible Entropy Control, arXiv 2602.09782, sections 4 and 5, as its authors
describe it on their page of 2026-03-17. Deviation: the numbers of D are ours,
because the paper's numbers could not be read. In the paper's third strategy,
oscillatory decay, a controller switches between both sides: oscillating_clip.
"""

from collections.abc import Callable

import jax.numpy as jnp

from entrojax.arguments import require, require_at_least, require_in
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import add_term, require_coefficient
from entrojax.objectives.surrogates import (
  dual_clipped,
  larger_loss,
  probability_ratio,
  require_dual_clip,
  unclipped_loss,
)
from entrojax.traits import UNEQUAL_CLIP, ObjectiveTraits, other_than
from entrojax.types import Array, Objective, ScoredTokens, TokenLoss


@ObjectiveTraits(
  kind="surrogate",
  inert_on_policy=True,
  acts_on_entropy=lambda settings: (
    other_than(low_share=0, high_share=0)(settings) or UNEQUAL_CLIP(settings)
  ),
)
def dynamic_clip(
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  low_ends: tuple[float, float] = (0.4, 0.1),
  high_ends: tuple[float, float] = (0.4, 0.1),
  low_share: float = 0.0,
  high_share: float = 1.0,
  dual_clip: float | None = 3.0,
) -> Objective:
  """Build the surrogate; with both shares at 0 it is ppo_clip.

  Args:
    clip_low: the constant part of the lower threshold, in [0, 1).
    clip_high: the constant part of the upper threshold, >= 0.
    low_ends: D of the lower threshold at probability 0 and at probability 1;
      the first in [0, 1), the second in [0, first].
    high_ends: D of the upper threshold at probability 0 and at probability 1;
      the first >= 0, the second in [0, first].
    low_share: the share of D in the lower threshold, in [0, 1].
    high_share: the share of D in the upper threshold, in [0, 1].
    dual_clip: bound of the loss where A < 0, in units of |A|, above
      1 + clip_high and 1 + D; None for no bound.

  Returns:
    A surrogate, an Objective that adds the term L.
  """
  require_in("dynamic_clip.low_share", low_share, "[0, 1]")
  require_in("dynamic_clip.high_share", high_share, "[0, 1]")
  add = _clipping(
    "dynamic_clip", clip_low, clip_high, low_ends, high_ends, dual_clip
  )

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    return add(tokens, token_loss, low_share, high_share)

  return objective


@ObjectiveTraits(kind="surrogate", driven=True, inert_on_policy=True)
def oscillating_clip(
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  low_ends: tuple[float, float] = (0.4, 0.1),
  high_ends: tuple[float, float] = (0.4, 0.1),
  dual_clip: float | None = 3.0,
) -> Objective:
  """Build the surrogate whose shares a controller switches.

  The share of D is the controller's coefficient on the upper side, and 1 minus
  the coefficient on the lower side. It has the same arguments as dynamic_clip.

  Args:
    clip_low: the constant part of the lower threshold, in [0, 1).
    clip_high: the constant part of the upper threshold, >= 0.
    low_ends: D of the lower threshold at probability 0 and at probability 1.
    high_ends: D of the upper threshold at probability 0 and at probability 1.
    dual_clip: bound of the loss where A < 0, in units of |A|; None: no bound.

  Returns:
    A surrogate, an Objective that adds the term L.
  """
  add = _clipping(
    "oscillating_clip", clip_low, clip_high, low_ends, high_ends, dual_clip
  )

  def objective(tokens, token_loss, coefficient, key):
    del key
    share = require_coefficient(coefficient, "oscillating_clip")
    return add(tokens, token_loss, 1 - share, share)

  return objective


def _clipping(
  name: str,
  clip_low: float,
  clip_high: float,
  low_ends: tuple[float, float],
  high_ends: tuple[float, float],
  dual_clip: float | None,
) -> Callable[..., TokenLoss]:
  """Check the settings of the section `name`, and build the function of L.

  Returns:
    (tokens, token_loss, low_share, high_share) -> token_loss with the term L.
  """
  require_in(f"{name}.clip_low", clip_low, "[0, 1)")
  require_at_least(f"{name}.clip_high", clip_high, 0, or_inf=True)
  _require_falling(f"{name}.low_ends", low_ends)
  _require_falling(f"{name}.high_ends", high_ends)
  require(
    low_ends[0] < 1,
    f"{name}.low_ends = {low_ends}: a threshold of 1 or more would let the "
    "ratio fall to 0",
  )
  require_dual_clip(f"{name}.dual_clip", dual_clip, clip_high)
  require_dual_clip(f"{name}.dual_clip", dual_clip, high_ends[0])

  def add(
    tokens: ScoredTokens,
    token_loss: TokenLoss,
    low_share: Array | float,
    high_share: Array | float,
  ) -> TokenLoss:
    old = jnp.exp(tokens.old_log_probs)
    rise, rise_slope = _threshold(clip_high, high_ends, high_share)
    high = (1 + rise) / (1 - rise_slope * old)
    fall, fall_slope = _threshold(clip_low, low_ends, low_share)
    low = (1 - fall) / (1 + fall_slope * old)
    ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
    plain = unclipped_loss(ratio, tokens.advantages)
    clipped = unclipped_loss(jnp.clip(ratio, low, high), tokens.advantages)
    loss = larger_loss(plain, clipped)
    stopped = clipped > plain
    metrics = {
      "actor/pg_clipfrac": share_metric(stopped, tokens.mask),
      f"{name}/low": mean_metric(low, tokens.mask),
      f"{name}/high": mean_metric(high, tokens.mask),
    }
    if dual_clip is not None:
      loss, binds = dual_clipped(loss, tokens.advantages, dual_clip)
      stopped |= binds
      metrics["actor/pg_clipfrac_lower"] = share_metric(binds, tokens.mask)
    metrics["actor/pg_loss"] = mean_metric(loss, tokens.mask)
    return add_term(token_loss, loss, tokens.mask, metrics, stopped=stopped)

  return add


def _threshold(
  clip: float, ends: tuple[float, float], share: Array | float
) -> tuple[Array | float, Array | float]:
  """Return E at probability 0, and how much it changes until probability 1."""
  first, last = ends
  return share * first + (1 - share) * clip, share * (last - first)


def _require_falling(name: str, ends: tuple[float, float]) -> None:
  """Raise ValueError unless the two ends fall and are not negative."""
  if len(ends) != 2 or not 0 <= ends[1] <= ends[0]:
    raise ValueError(
      f"{name} must be two thresholds, the first at least the second, none "
      f"below 0, got {ends}"
    )
