"""80/20: only tokens of high entropy ("forking tokens") have a policy gradient.

    loss = sum_t S_t L_t / sum_t S_t,     S = 1 on the `fraction` of highest H

This is the loss with the aggregation token-mean and the default norm: other
aggregations, too, count only the tokens with S = 1. With norm = "all" the
denominator counts every token. "Beyond the 80/20 Rule", arXiv 2506.01939, eq.
6. S is a constant, selected over the whole mini-batch. It acts on the terms
that earlier members have added; penalties stay as they are.
"""

import dataclasses

import jax.numpy as jnp

from entrojax.arguments import require_in, require_one_of
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import map_terms, scale_loss
from entrojax.objectives.selection import above_quantile, ceil_share, highest
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective


@ObjectiveTraits(kind="transform")
def top_entropy(
  *,
  fraction: float = 0.2,
  select: str = "top",
  which: str = "high",
  norm: str = "selected",
) -> Objective:
  """Build the 80/20 selection; put it right after a surrogate.

  A sequence without a selected token is empty: no aggregation counts it.

  Args:
    fraction: share of all response tokens that keep their gradient, in (0, 1].
    select: "top" is exactly ceil(fraction N) of N tokens, as in the paper's
      code. "quantile" is all tokens at or beyond the interpolated quantile, as
      in TRL.
    which: "high"; or "low" for the paper's ablation, the `fraction` of lowest
      entropy.
    norm: which tokens denominators count. "selected": the selected ones, as in
      the paper. "all": every token, as in TRL, which makes the loss smaller by
      the factor `fraction`.

  Returns:
    A transform, an Objective that removes the other tokens from each term.
  """
  require_in("top_entropy.fraction", fraction, "(0, 1]")
  require_one_of("top_entropy.select", select, ("top", "quantile"))
  require_one_of("top_entropy.which", which, ("high", "low"))
  require_one_of("top_entropy.norm", norm, ("selected", "all"))

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
