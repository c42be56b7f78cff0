"""What each member of a chain does to the gradient: is it doing anything?

A member is measured against the chain up to it; the first one, the surrogate,
against the plain policy gradient -A r. The gradient is the loss's in the
log-probs and entropies of the mini-batch, before it goes back into the model.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from entrojax.masking import divide, mean_metric, scalar_metric
from entrojax.objectives.chain import add_term, chain
from entrojax.objectives.surrogates import probability_ratio, unclipped_loss
from entrojax.types import Array, Metrics, Objective, ScoredTokens, TokenLoss

# of the largest entry: float32 sums in another order differ by less
_ROUNDING = 1e-5

# (objective, log_probs, entropy) -> (loss f32[], metrics)
Loss = Callable[[Objective, Array, Array], tuple[Array, Metrics]]


def gradient_changes(
  members: Mapping[str, Objective], loss_of: Loss, tokens: ScoredTokens
) -> Metrics:
  """Measures what each member changes.

  Args:
    members: of a chain, by name, in order.
    loss_of: the loss of an objective on the mini-batch, with the same key and
      coefficient for all.
    tokens: the mini-batch.

  Returns:
    For each member `<name>/gradient_change`, |g - g_before| / |g_before|, and
    `<name>/gradient_touched`, the share of tokens whose gradient it changed.
  """
  gradient_of = lambda objective: jax.grad(
    lambda log_probs, entropy: loss_of(objective, log_probs, entropy)[0],
    argnums=(0, 1),
  )(tokens.log_probs, tokens.entropy)

  metrics = {}
  before, so_far = gradient_of(_plain), []
  for name, member in members.items():
    so_far.append(member)
    after = gradient_of(chain(*so_far))
    difference = jax.tree.map(lambda a, b: jnp.abs(a - b), after, before)
    largest = jnp.max(jnp.abs(jnp.stack([*before, *after])))
    touched = jnp.maximum(*difference) > _ROUNDING * largest
    metrics[f"{name}/gradient_change"] = scalar_metric(
      divide(_norm(difference), _norm(before))
    )
    metrics[f"{name}/gradient_touched"] = mean_metric(
      touched.astype(jnp.float32), tokens.mask
    )
    before = after
  return metrics


def _norm(gradients: tuple[Array, Array]) -> Array:
  return jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in gradients))


def _plain(
  tokens: ScoredTokens, token_loss: TokenLoss, coefficient: Array, key: Array
) -> TokenLoss:
  """The objective that others are measured against: -A r."""
  del coefficient, key
  ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
  loss = unclipped_loss(ratio, tokens.advantages)
  return add_term(token_loss, loss, tokens.mask, {})
