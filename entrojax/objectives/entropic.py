"""EntroPIC's term: positive and negative samples weighted by the controller.

    L = coefficient * aggregate(-r |A|, over tokens with pi > min_probability)

Below the target the coefficient is negative: probable tokens of right answers
are damped, probable tokens of wrong answers pushed down harder, and entropy
rises. EntroPIC, arXiv 2511.15248; the controller is control.entropic_pi.
"""

import math

import jax.numpy as jnp

from entrojax.masking import scalar_metric, share_metric
from entrojax.objectives.chain import add_term, driven
from entrojax.objectives.surrogates import probability_ratio, unclipped_loss
from entrojax.types import Objective


def entropic(
  *, min_probability: float = 0.95, norm: str = "selected"
) -> Objective:
  """Makes EntroPIC's term; add it after a surrogate.

  The ratio is not clipped, as in the released code.

  Args:
    min_probability: the term acts on tokens above this probability, in [0, 1);
      0.95 in the released code, 0 = all tokens, the paper's (1 +- a) weights.
    norm: what the term's denominator counts. "selected": the tokens it acts
      on, as released, so that its weight on a token is a N / N_selected and
      can turn the sign of a positive sample. "all": every response token, so
      that weights stay in [0, 2] while |a| <= 1.
  """
  if not 0 <= min_probability < 1:
    raise ValueError(
      f"entropic.min_probability must lie in [0, 1), got {min_probability}"
    )
  if norm not in ("selected", "all"):
    raise ValueError(f"entropic.norm must be 'selected' or 'all', got {norm!r}")
  threshold = math.log(min_probability) if min_probability else -math.inf

  def objective(tokens, token_loss, coefficient, key):
    del key
    coefficient = driven(coefficient, "entropic")
    selected = tokens.mask * (tokens.log_probs > threshold)
    ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
    loss = coefficient * unclipped_loss(ratio, jnp.abs(tokens.advantages))
    if norm == "all":
      loss, weight = loss * selected, tokens.mask
    else:
      weight = selected
    metrics = {
      "entropic/touched": share_metric(selected, tokens.mask),
      "entropic/coefficient": scalar_metric(coefficient),
    }
    return add_term(token_loss, loss, weight, metrics)

  return objective
