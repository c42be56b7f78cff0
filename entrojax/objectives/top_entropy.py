"""80/20: only tokens of high entropy, the forks, have a policy gradient.

    L = sum_t S_t L_t / sum_t S_t,     S = 1 on the `fraction` of highest H

"Beyond the 80/20 Rule", arXiv 2506.01939, eq. 6. S is a constant, taken over
the whole mini-batch; it acts on the terms before it in the chain.
"""

import dataclasses

import jax.numpy as jnp

from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import map_terms, scale_loss
from entrojax.objectives.selection import above_quantile, ceil_share, highest
from entrojax.types import Objective


def top_entropy(
  *,
  fraction: float = 0.2,
  select: str = "top",
  which: str = "high",
  norm: str = "selected",
) -> Objective:
  """Makes the selection; put it right after a surrogate.

  A sequence without a selected token is empty: no aggregation counts it.

  Args:
    fraction: of all response tokens, how many keep their gradient, in (0, 1].
    select: "top", exactly ceil(fraction N) tokens, as in the paper's code;
      "quantile", all tokens on or beyond the interpolated quantile, as in TRL.
    which: "high"; or "low", the paper's ablation: the `fraction` of lowest
      entropy.
    norm: what denominators count. "selected": selected tokens, as in the
      paper; "all": every token, as in TRL, a loss smaller by `fraction`.
  """
  if not 0 < fraction <= 1:
    raise ValueError(f"top_entropy.fraction must lie in (0, 1], got {fraction}")
  for name, value, known in (
    ("select", select, ("top", "quantile")),
    ("which", which, ("high", "low")),
    ("norm", norm, ("selected", "all")),
  ):
    if value not in known:
      raise ValueError(
        f"top_entropy.{name} must be one of {known}, got {value!r}"
      )

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    score = tokens.entropy if which == "high" else -tokens.entropy
    if select == "top":
      k = ceil_share(fraction, jnp.sum(tokens.mask))
      selected = highest(score, tokens.mask, k)
    else:
      selected = above_quantile(score, tokens.mask, fraction)
    metrics = {
      "top_entropy/touched": share_metric(selected, tokens.mask),
      "top_entropy/entropy": mean_metric(tokens.entropy, selected),
    }
    if norm == "all":
      return scale_loss(token_loss, selected, metrics)
    return map_terms(
      token_loss,
      lambda term: dataclasses.replace(term, weight=term.weight * selected),
      metrics,
    )

  return objective
