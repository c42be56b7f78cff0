"""BAPO: move PPO's clip bounds until right and wrong tokens are in balance.

    P = sum over A > 0 of A min(r, high),  N = sum over A < 0 of |A| max(r, low)
    L = max(-A r, -A clip(r, low, high)),  where A < 0: at most -A dual_clip

The bounds start narrow. While P / N < target, first `low` rises step by step to
its largest value, which silences wrong tokens that are already unlikely, and
then `high` does, which lets right tokens rise further. The first bounds that
reach the target are taken, and otherwise the last ones. Sums are over the
mini-batch, and no gradient flows through the bounds. BAPO, arXiv 2510.18927,
and its released code, of whose example run the defaults are.
"""

import itertools

import jax
import jax.numpy as jnp

from entrojax.arguments import require, require_at_least
from entrojax.masking import (
  masked_sum,
  mean_metric,
  scalar_metric,
  share_metric,
)
from entrojax.objectives.chain import add_term
from entrojax.objectives.surrogates import (
  dual_clipped,
  larger_loss,
  probability_ratio,
  require_dual_clip,
  unclipped_loss,
)
from entrojax.traits import ObjectiveTraits, other_than
from entrojax.types import Array, Objective, ScoredTokens

_LEAST = 1e-8  # of N, as in the released code

Bound = tuple[float, float, float]


@ObjectiveTraits(
  kind="surrogate",
  inert_on_policy=True,
  acts_on_entropy=other_than(target=0),
)
def bapo(
  *,
  target: float = 0.5,
  low: tuple[float, float, float] = (0.8, 0.95, 0.05),
  high: tuple[float, float, float] = (1.2, 2.0, 0.1),
  dual_clip: float | None = 3.0,
) -> Objective:
  """Build BAPO's surrogate.

  Args:
    target: the least P / N, >= 0; 0 = the bounds stay where they start.
    low: the lower bound of the ratio: its first and largest value, in [0, 1],
      and the step between, > 0.
    high: the upper bound of the ratio: its first and largest value, >= 1, and
      the step between, > 0.
    dual_clip: bound of the loss where A < 0, in units of |A|, above the largest
      upper bound; None for no bound.

  Returns:
    A surrogate, an Objective that adds the term L.
  """
  require_at_least("bapo.target", target, 0)
  _check("bapo.low", low, 0.0, 1.0)
  _check("bapo.high", high, 1.0, float("inf"))
  require_dual_clip("bapo.dual_clip", dual_clip, high[1] - 1)
  lows, highs = _values(low), _values(high)
  candidates = [(bound, highs[0]) for bound in lows]
  candidates += [(lows[-1], bound) for bound in highs[1:]]

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
    lower, upper, balance = _choose(
      candidates, tokens, jax.lax.stop_gradient(ratio), target
    )
    plain = unclipped_loss(ratio, tokens.advantages)
    clipped = unclipped_loss(jnp.clip(ratio, lower, upper), tokens.advantages)
    loss = larger_loss(plain, clipped)
    stopped = clipped > plain
    metrics = {
      "actor/pg_clipfrac": share_metric(stopped, tokens.mask),
      "bapo/low": scalar_metric(lower),
      "bapo/high": scalar_metric(upper),
      "bapo/balance": scalar_metric(balance),
    }
    if dual_clip is not None:
      loss, binds = dual_clipped(loss, tokens.advantages, dual_clip)
      stopped |= binds
      metrics["actor/pg_clipfrac_lower"] = share_metric(binds, tokens.mask)
    metrics["actor/pg_loss"] = mean_metric(loss, tokens.mask)
    return add_term(token_loss, loss, tokens.mask, metrics, stopped=stopped)

  return objective


def _choose(
  candidates: list[tuple[float, float]],
  tokens: ScoredTokens,
  ratio: Array,
  target: float,
) -> tuple[Array, Array, Array]:
  """Return the first bounds with P / N >= target, and that quotient.

  Args:
    candidates: bounds (low, high), in the order of the search.
    tokens: the mini-batch.
    ratio: f32[B, T], a constant.
    target: the least quotient.

  Returns:
    low, high and P / N, f32[]. Without any weight on wrong tokens, N
    counts as 1e-8.
  """
  gain, loss = (jnp.maximum(s * tokens.advantages, 0.0) for s in (1, -1))
  balances = jnp.stack(
    [
      masked_sum(gain * jnp.minimum(ratio, high), tokens.mask)
      / (masked_sum(loss * jnp.maximum(ratio, low), tokens.mask) + _LEAST)
      for low, high in candidates
    ]
  )
  wrong = masked_sum(loss, tokens.mask)
  reached = (balances >= target) | (wrong <= 0)
  place = jnp.where(jnp.any(reached), jnp.argmax(reached), len(candidates) - 1)
  table = jnp.asarray(candidates, ratio.dtype)
  return table[place, 0], table[place, 1], balances[place]


def _values(bound: Bound) -> list[float]:
  """Return the values of a bound from the first to the largest."""
  first, largest, step = bound
  steps = itertools.count(1)
  values = [first]
  while values[-1] < largest:
    values.append(min(first + next(steps) * step, largest))
  return values


def _check(name: str, bound: Bound, least: float, most: float) -> None:
  """Raise ValueError for a bound that cannot be moved."""
  require(
    len(bound) == 3
    and least <= bound[0] <= bound[1] <= most
    and 1e-3 <= bound[2] < float("inf"),
    f"{name} must be the first value, the largest value and a step of at least "
    f"0.001, with {least:g} <= first <= largest <= {most:g}; got {bound}",
  )
