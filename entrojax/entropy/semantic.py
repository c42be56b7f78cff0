"""Semantic entropy of a group of responses, and the factor it puts on them.

SEED-GRPO, arXiv 2505.12346: where the answers to a prompt disagree the policy
is uncertain, and the advantages of that prompt's responses shrink:

    A' = f(s) A,    s = clip(SE / log G, 0, 1)

Shapes: clusters i32[Q, G], the group's answers sorted by meaning (clusters.py),
log_probs f32[Q, G], SE and f f32[Q]. Everything here is a constant.
"""

import math

import chex
import jax
from jax.nn import logsumexp
import jax.numpy as jnp

from entrojax.masking import divide
from entrojax.types import Array

ESTIMATORS = ("rao", "count", "mc", "mc_unnormalised")

FORMS = {
  "inverse": lambda s, alpha: 1 / (1 + alpha * s),
  "linear": lambda s, alpha: jnp.maximum(1 - alpha * s, 0.0),
  "exp": lambda s, alpha: jnp.exp(-alpha * s),
  "focal": lambda s, alpha: (1 - s) ** alpha,
}

_LEAST = -1e30  # nats; log 0 as a number that may be multiplied by 0
_ROUNDING = 1e-6  # a share this near to 1 is 1: there focal falls off a cliff


def semantic_entropy(
  clusters: Array, log_probs: Array | None = None, *, estimator: str = "rao"
) -> Array:
  """Estimates the entropy over the meanings of each group's answers, in nats.

  With ell the log_probs, over the responses that count:

      rao:    w = softmax(ell),  p_c = sum of w in c,  SE = -sum_c p_c log p_c
      count:  the same with w = 1 / n
      mc:     SE = -(1 / K) sum_c log p_c, over the K clusters, p_c as in rao
      mc_unnormalised:  mc with p_c = sum of exp(ell) in c

  SEED-GRPO, arXiv 2505.12346; `rao` is the estimator of Farquhar et al. (2024)
  and what readers of SEED's released code report. `mc` weighs clusters, not
  samples, alike: it is no estimate of the entropy but lies at or above log K.

  Deviation: the paper's formula read literally is mc_unnormalised, which can
  be negative; `mc` normalises the masses first.

  Args:
    clusters: i32[Q, G], equal = same meaning within a row; below 0 = the
      response does not count.
    log_probs: f32[Q, G], nats, one score a response under the policy that
      sampled it: the mean over its tokens, or their sum. `count` needs none.
    estimator: one of ESTIMATORS.

  Returns:
    f32[Q], a constant. Exactly 0 where one cluster or none counts (but for
    mc_unnormalised, which is 0 only where none does).

  Raises:
    ValueError: an unknown estimator, or log_probs are missing.
  """
  chex.assert_rank(clusters, 2)
  if estimator not in ESTIMATORS:
    raise ValueError(
      f"semantic_entropy.estimator must be one of {ESTIMATORS}, "
      f"got {estimator!r}"
    )
  if estimator == "count":
    log_probs = jnp.zeros(clusters.shape)
  if log_probs is None:
    raise ValueError(
      f"semantic_entropy.estimator {estimator!r} needs log_probs"
    )
  chex.assert_equal_shape([clusters, log_probs])

  counted = clusters >= 0
  scores = jax.lax.stop_gradient(jnp.maximum(log_probs, _LEAST))
  scores = jnp.where(counted, scores, 0.0)
  same = counted[:, :, None] & (clusters[:, :, None] == clusters[:, None, :])
  earlier = jnp.tril(jnp.ones(same.shape, bool), -1)  # [q, i, j] with j < i
  first = counted & ~jnp.any(same & earlier, axis=2)  # one response a cluster
  num_clusters = jnp.sum(first, axis=1)

  total = logsumexp(scores, axis=1, where=counted, keepdims=True)
  mass = logsumexp(
    jnp.broadcast_to(scores[:, None], same.shape), axis=2, where=same
  )  # of the cluster that response i is in
  log_p = mass if estimator == "mc_unnormalised" else mass - total
  log_p = jnp.where(counted, log_p, 0.0)
  if estimator in ("mc", "mc_unnormalised"):
    total_log_p = jnp.sum(jnp.where(first, log_p, 0.0), axis=1)
    entropy = divide(-total_log_p, num_clusters)
  else:  # sum_c p_c log p_c, response by response
    weight = jnp.where(counted, jnp.exp(scores - total), 0.0)
    entropy = -jnp.sum(weight * log_p, axis=1)
  if estimator == "mc_unnormalised":
    return entropy
  # rounding may leave a residue where there is nothing to be uncertain of
  return jnp.where(num_clusters > 1, jnp.maximum(entropy, 0.0), 0.0)


def modulation(
  entropy: Array,
  group_size: int | Array,
  *,
  form: str = "inverse",
  alpha: float = 0.0417,
) -> Array:
  """Returns f(s) in [0, 1], the factor on a group's advantages.

      inverse: 1 / (1 + alpha s)      exp:   exp(-alpha s)
      linear:  max(0, 1 - alpha s)    focal: (1 - s)^alpha

  SEED-GRPO, arXiv 2505.12346, with s = clip(SE / log G, 0, 1). f(0) = 1, and f
  falls with s. It multiplies advantages last: before a division by the group's
  standard deviation it would cancel.

  The defaults are what readers of the released code report; they shrink an
  update by 4 % at most. alpha = 0.5 or 1 makes a difference.

  Deviation: the paper's closed forms could not be checked; `linear`, `exp` and
  `focal` are the natural readings of their names. An alpha below 0, which
  would amplify uncertain prompts, is refused: the authors report a collapse.

  Args:
    entropy: f32[Q], nats; see `semantic_entropy`.
    group_size: G; or f32[Q], how many responses of each group count, to
      measure the entropy against the most that these could show.
    form: one of FORMS.
    alpha: strength >= 0; 0 gives 1 everywhere.

  Returns:
    f32[Q], a constant. Exactly 1 where group_size < 2.

  Raises:
    ValueError: an unknown form, or alpha is negative or not finite.
  """
  chex.assert_rank(entropy, 1)
  if form not in FORMS:
    raise ValueError(
      f"modulation.form must be one of {tuple(FORMS)}, got {form!r}"
    )
  if not (alpha >= 0 and math.isfinite(alpha)):
    raise ValueError(
      f"modulation.alpha must be finite and not negative, got {alpha}"
    )
  size = jnp.asarray(group_size)
  most = jnp.log(jnp.maximum(size, 2).astype(entropy.dtype))
  s = jnp.maximum(jax.lax.stop_gradient(entropy) / most, 0.0)
  s = jnp.where(s > 1 - _ROUNDING, 1.0, s)
  return jnp.where(size < 2, 1.0, FORMS[form](s, alpha))
