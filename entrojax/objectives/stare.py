"""STARE: while the entropy is low, rare tokens of right answers count more.

    L <- positive_weight L   on the rare tokens with A > 0
    L <- negative_weight L   on the rare tokens with A < 0
    both only while the rollout's mean H_old < target

The rare tokens are the `fraction` of highest surprise, -log pi, among the
mini-batch's tokens of that sign of A. STARE, arXiv 2606.19236, and its released
code. The weights are constants of the run (`stare`; by default negative_weight
is 1, which does nothing) or follow a controller (`adaptive_stare`). No gradient
flows through them, penalties stay as they are, and denominators count every
token.

The released trainer decides once for a rollout batch, as here with gate =
"rollout". With dynamic sampling, control.signal says whether H_old is the mean
of everything that the policy sampled or of the batch; it is the entropy that
controllers steer by. With gate = "minibatch", each optimizer step decides by
its own tokens alone, and so does a caller whose tokens have no rollout_entropy.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from entrojax.arguments import (
  require_at_least,
  require_in,
  require_one_of,
)
from entrojax.masking import masked_mean, scalar_metric, share_metric
from entrojax.objectives.chain import require_coefficient, scale_loss
from entrojax.objectives.reading import rollout_entropy
from entrojax.objectives.selection import ceil_share, highest
from entrojax.traits import ObjectiveTraits, Surroundings
from entrojax.types import Array, Objective, ScoredTokens, TokenLoss

_GATES = ("rollout", "minibatch")


@ObjectiveTraits(kind="transform", entropies=("target",), gated_by_rollout=True)
def stare(
  *,
  target: float = 0.3,
  fraction: float = 0.1,
  positive_weight: float = 1.1,
  negative_weight: float = 1.0,
  gate: str = "rollout",
) -> Objective:
  """Build STARE's weighting by constants; put it right after a surrogate.

  Args:
    target: all weights are 1 while the entropy is at or above this, nats, >= 0.
    fraction: share of the tokens of one sign of advantage, in [0, 1]:
      ceil(f n) of n tokens.
    positive_weight: weight of the rare tokens where A > 0, >= 0. The paper
      uses 1.1, and 1.05 at 14B parameters and above.
    negative_weight: weight of the rare tokens where A < 0, >= 0; 1 = off. The
      paper's second variant uses 0.9.
    gate: whose entropy is compared with `target`: "rollout", of the rollout
      batch, or "minibatch".

  Returns:
    A transform, an Objective that multiplies each loss by its weight.
  """
  require_at_least("stare.target", target, 0)
  require_in("stare.fraction", fraction, "[0, 1]")
  require_at_least("stare.positive_weight", positive_weight, 0)
  require_at_least("stare.negative_weight", negative_weight, 0)
  require_one_of("stare.gate", gate, _GATES)

  def objective(tokens, token_loss, coefficient, key):
    del coefficient, key
    weights = ((1, positive_weight), (-1, negative_weight))
    low = _gate_entropy(tokens, gate) < target
    return _weigh_rare_tokens(
      "stare", tokens, token_loss, low, fraction, weights
    )

  return objective


def _check_target(
  settings: Mapping[str, Any], surroundings: Surroundings
) -> None:
  """Raise ValueError if adaptive_stare and its controller disagree."""
  if settings["target"] != surroundings.target:
    raise ValueError(
      f"adaptive_stare.target = {settings['target']} must be control.target = "
      f"{surroundings.target}"
    )


@ObjectiveTraits(
  kind="transform",
  driven=True,
  entropies=("target",),
  gated_by_rollout=True,
  check=_check_target,
)
def adaptive_stare(
  *,
  target: float = 0.3,
  fraction: float = 0.1,
  negative_strength: float = 0.0,
  gate: str = "rollout",
) -> Objective:
  """Build STARE's weighting by a controller; put it right after a surrogate.

      positive_weight = c;  negative_weight = 1 - negative_strength (c - 1)

  c is the coefficient of control.stare_weights. The released code moves the
  two weights by the same steps between mirrored bounds. If they start as
  mirror images, they remain so, as here with a strength of 1.

  Args:
    target: all weights are 1 while the entropy is at or above this, nats, >= 0;
      the target of the controller as well.
    fraction: share of the tokens of one sign of advantage, in [0, 1]:
      ceil(f n) of n tokens.
    negative_strength: in [0, 2]; 0 = off, 1 = the paper's second variant.
    gate: whose entropy is compared with `target`: "rollout", of the rollout
      batch, or "minibatch".

  Returns:
    A transform, an Objective that multiplies each loss by its weight.
  """
  require_at_least("adaptive_stare.target", target, 0)
  require_in("adaptive_stare.fraction", fraction, "[0, 1]")
  require_in("adaptive_stare.negative_strength", negative_strength, "[0, 2]")
  require_one_of("adaptive_stare.gate", gate, _GATES)

  def objective(tokens, token_loss, coefficient, key):
    del key
    coefficient = require_coefficient(coefficient, "adaptive_stare")
    weights = (
      (1, coefficient),
      (-1, 1 - negative_strength * (coefficient - 1)),
    )
    low = _gate_entropy(tokens, gate) < target
    return _weigh_rare_tokens(
      "adaptive_stare", tokens, token_loss, low, fraction, weights
    )

  return objective


def _gate_entropy(tokens: ScoredTokens, gate: str) -> Array:
  """Return the mean old entropy that the gate reads, f32[], nats."""
  if gate == "minibatch":
    return masked_mean(tokens.old_entropy, tokens.mask)
  return rollout_entropy(tokens)


def _weigh_rare_tokens(
  name: str,
  tokens: ScoredTokens,
  token_loss: TokenLoss,
  low: Array,
  fraction: float,
  weights: tuple[tuple[int, Array | float], ...],
) -> TokenLoss:
  """Weigh the rare tokens of each sign of advantage, while entropy is low.

  Args:
    name: of the member, which begins the names of its metrics.
    tokens: the mini-batch.
    token_loss: the losses to weigh.
    low: bool[], whether the entropy is low.
    fraction: in [0, 1].
    weights: (sign of the advantage, weight) pairs.
  """
  weight = jnp.ones_like(tokens.mask)
  for sign, value in weights:
    candidates = tokens.mask * (jnp.sign(tokens.advantages) == sign)
    k = ceil_share(fraction, jnp.sum(candidates))
    selected = highest(-tokens.log_probs, candidates, k)
    weight = jnp.where(low & (selected > 0), value, weight)
  metrics = {
    f"{name}/touched": share_metric(weight != 1, tokens.mask),
    f"{name}/active": scalar_metric(low),
  }
  return scale_loss(token_loss, weight, metrics)
