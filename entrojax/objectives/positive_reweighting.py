"""Positive-advantage reweighting: a controller weighs tokens with A > 0.

    L <- w L,     w = coefficient where A > 0, 1 elsewhere

arXiv 2511.05993: tokens of positive advantage drive the entropy down, so their
weight controls it. The coefficient comes from control.entropy_guided,
control.stage_schedule or control.epoch_schedule, and lies in [0, 1] there.
Denominators still count every token, and are not the sum of the weights.
Penalties stay as they are.
"""

import jax.numpy as jnp

from entrojax.masking import scalar_metric, share_metric
from entrojax.objectives.chain import require_coefficient, scale_loss
from entrojax.traits import ObjectiveTraits
from entrojax.types import Objective


@ObjectiveTraits(kind="transform", driven=True, weighs_right=True)
def positive_reweighting() -> Objective:
  """Build the weighting of positive advantages; put it right after a surrogate.

  Returns:
    A transform, an Objective that multiplies each loss by w.
  """

  def objective(tokens, token_loss, coefficient, key):
    del key
    coefficient = require_coefficient(coefficient, "positive_reweighting")
    positive = tokens.advantages > 0
    metrics = {
      "positive_reweighting/touched": share_metric(positive, tokens.mask),
      "positive_reweighting/coefficient": scalar_metric(coefficient),
    }
    return scale_loss(
      token_loss, jnp.where(positive, coefficient, 1.0), metrics
    )

  return objective
