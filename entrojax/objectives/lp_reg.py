"""Lp-Reg: do not let wrong responses extinguish rare but sensible tokens.

    q       pi_old over the tokens with pi_old >= min_p max pi_old, renormalised
    penalty = coef k3(log pi - log q)

on the `fraction` of least probable tokens with A < 0, if q holds the sampled
token and pi < q there. k3(x) = exp(-x) + x - 1, capped at 10 nats, is an
estimate of KL(pi || q) on samples of pi; its gradient is an estimate of the
gradient of KL(q || pi). Such a token is pulled back towards the probability
that it has without the noise of the distribution's tail. Lp-Reg, arXiv
2510.03222, and its released code. The released run clips ratios to [0, 10]
only. No transform reweights the penalty, and its denominator counts all tokens.

Deviation: the mass of q is summed over the `candidates` likeliest tokens, not
over the vocabulary; it is exact if not more tokens pass the threshold. The code
leaves a mini-batch alone in which the fraction is a single token; here that
token is penalised.
"""

import jax
from jax.nn import logsumexp
import jax.numpy as jnp

from entrojax.arguments import require_at_least, require_in
from entrojax.entropy.statistics import old, top_log_probs
from entrojax.masking import mean_metric, share_metric
from entrojax.objectives.chain import add_penalty
from entrojax.objectives.reading import reading, statistic_of
from entrojax.objectives.reference_kl import k3
from entrojax.objectives.selection import floor_share, highest
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective


@ObjectiveTraits(kind="penalty")
def lp_reg(
  *,
  coef: float = 1.0,
  min_p: float = 0.02,
  fraction: float = 0.01,
  candidates: int = 64,
) -> Objective:
  """Build Lp-Reg's penalty; put it after a surrogate.

  Args:
    coef: loss per nat, >= 0.
    min_p: the least probability of a token in q, as a share of the largest, in
      (0, 1].
    fraction: share of the tokens with A < 0 that are rare, in [0, 1]: the
      paper's 14B model has 0.01, and 0.005 at 32B.
    candidates: the number of likeliest tokens that q may hold, >= 1.

  Returns:
    A penalty, an Objective that reads old(top_log_probs(candidates)).
  """
  require_at_least("lp_reg.coef", coef, 0)
  require_in("lp_reg.min_p", min_p, "(0, 1]")
  require_in("lp_reg.fraction", fraction, "[0, 1]")
  statistic = old(top_log_probs(candidates))

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    top = statistic_of(tokens, statistic, "lp_reg")
    least = top[..., 0] + jnp.log(min_p)
    passes = top >= least[..., None]
    passes = passes.at[..., 0].set(True)  # whatever min_p's rounding
    target = tokens.old_log_probs - logsumexp(top, axis=-1, where=passes)
    held = tokens.old_log_probs >= least
    below = jax.lax.stop_gradient(tokens.log_probs) < target
    wrong = tokens.mask * (tokens.advantages < 0)
    rare = highest(
      -tokens.log_probs, wrong, floor_share(fraction, jnp.sum(wrong))
    )
    selected = rare * held * below
    kl = k3(tokens.log_probs - target)
    metrics = {
      "lp_reg/touched": share_metric(selected, tokens.mask),
      "lp_reg/kl": mean_metric(kl, tokens.mask * selected),
    }
    loss = coef * selected * kl
    return add_penalty(token_loss, loss, tokens.mask, metrics)

  return reading(objective, statistic)
