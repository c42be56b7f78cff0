"""EntroPIC's term: a controller weighs positive against negative samples.

    term = -coefficient r |A|    on the tokens with pi > min_probability

The term is aggregated by itself and added to the loss of the earlier members.
By default its denominator counts only the tokens that it acts on. A negative
coefficient lowers the probability of probable tokens: right answers are
reinforced less, wrong answers are pushed down more, and the entropy rises. A
positive coefficient does the opposite. The controller control.entropic_pi makes
it negative when the entropy has been below its target. EntroPIC, arXiv
2511.15248.
"""

import math

import jax.numpy as jnp

from entrojax.arguments import require_in, require_one_of
from entrojax.masking import scalar_metric, share_metric
from entrojax.objectives.chain import add_term, require_coefficient
from entrojax.objectives.surrogates import probability_ratio, unclipped_loss
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective


@ObjectiveTraits(kind="term", driven=True)
def entropic(
  *, min_probability: float = 0.95, norm: str = "selected"
) -> Objective:
  """Build EntroPIC's term; put it after a surrogate.

  The ratio is not clipped, as in the released code.

  Args:
    min_probability: the term acts on tokens above this probability, in [0, 1).
      The released code uses 0.95. With 0 it acts on all tokens: these are the
      paper's weights 1 +- a, where a is the coefficient.
    norm: which tokens the term's denominator counts. "selected": the tokens it
      acts on, as released. With token-mean over N tokens, the weights of these
      tokens are then 1 +- a N / N_selected, and can turn the sign of a positive
      sample. "all": every response token, so that the weights are 1 +- a and
      stay in [0, 2] while |a| <= 1.

  Returns:
    A term, an Objective that adds -coefficient r |A| on the selected tokens.
  """
  require_in("entropic.min_probability", min_probability, "[0, 1)")
  require_one_of("entropic.norm", norm, ("selected", "all"))
  threshold = math.log(min_probability) if min_probability else -math.inf

  def objective(tokens, token_loss, coefficient, key):
    del key
    coefficient = require_coefficient(coefficient, "entropic")
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
