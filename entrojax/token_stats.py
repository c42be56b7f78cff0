"""Log-probability of the sampled token and entropy of its distribution.

Both are exact, in float32 nats, at the sampling temperature. The vocabulary
axis exists only inside a chunk of tokens, and the backward pass makes it again
(jax.checkpoint), so memory holds [chunk, V] and never [B, T, V].
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from entrojax.types import Array

_LEAST = -1e30  # nats below the largest; finite, and its exponential is 0


def log_prob_and_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
  """Returns log softmax(logits)[target] and the entropy of softmax(logits).

  H = logsumexp(z) - sum_v softmax(z)_v z_v.

  Args:
    logits: f[..., V], already divided by the temperature; -inf = a token that
      cannot be.
    targets: i32[...], the sampled tokens.

  Returns:
    (log_probs f32[...], entropy f32[...]), nats.
  """
  logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
  # Centred: entropy is then no difference of two large numbers.
  logits -= jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
  # A token that cannot be has a probability of 0, and 0 times -inf is NaN.
  logits = jnp.maximum(logits, _LEAST)
  log_normaliser = jax.nn.logsumexp(logits, axis=-1)
  chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
  probabilities = jnp.exp(logits - log_normaliser[..., None])
  mean_logit = jnp.sum(probabilities * logits, axis=-1)
  return chosen - log_normaliser, log_normaliser - mean_logit


def token_stats(
  hidden: Array,
  targets: Array,
  unembed: Callable[[Array], Array],
  *,
  temperature: float = 1.0,
  chunk_size: int = 2048,
) -> tuple[Array, Array]:
  """Returns log-probs and entropies of `targets` under the policy.

  Args:
    hidden: f[B, T, D], the state that predicts each target.
    targets: i32[B, T].
    unembed: f[N, D] -> logits f32[N, V].
    temperature: the sampling temperature, > 0.
    chunk_size: tokens whose logits exist at one time.

  Returns:
    (log_probs f32[B, T], entropy f32[B, T]), nats.
  """
  chex.assert_rank([hidden, targets], [3, 2])
  chex.assert_equal_shape_prefix([hidden, targets], 2)
  num_tokens = targets.size
  flat_hidden = hidden.reshape(num_tokens, -1)
  flat_targets = targets.reshape(num_tokens)

  def chunk_stats(chunk: tuple[Array, Array]) -> tuple[Array, Array]:
    chunk_hidden, chunk_targets = chunk
    return log_prob_and_entropy(
      unembed(chunk_hidden) / temperature, chunk_targets
    )

  if num_tokens <= chunk_size:
    stats = chunk_stats((flat_hidden, flat_targets))
  else:
    padding = -num_tokens % chunk_size
    chunks = (
      jnp.pad(flat_hidden, ((0, padding), (0, 0))).reshape(
        -1, chunk_size, flat_hidden.shape[1]
      ),
      jnp.pad(flat_targets, (0, padding)).reshape(-1, chunk_size),
    )
    stats = jax.lax.map(jax.checkpoint(chunk_stats), chunks)
  return jax.tree.map(
    lambda x: x.reshape(-1)[:num_tokens].reshape(targets.shape), stats
  )
