"""Semantic entropy of a group of responses, and a factor for its advantages.

SEED-GRPO, arXiv 2505.12346: if the answers to a prompt disagree, the policy is
uncertain, and the advantages A of the responses to that prompt shrink:

    A' = f(s) A,    s = clip(SE / log G, 0, 1)

`semantic_entropy` computes SE and `modulation` computes f(s). All results are
constants: no gradient flows through them.

Shapes: clusters i32[Q, G] number the answers of Q groups of G by meaning
(answers/clusters.py), log_probs are f32[Q, G], SE and f(s) are f32[Q].
"""

import chex
import jax
from jax.nn import logsumexp
import jax.numpy as jnp

from entrojax.arguments import require_in, require_one_of
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
_ROUNDING = 1e-6  # an s this near to 1 is 1, because focal is steep there


def semantic_entropy(
  clusters: Array, log_probs: Array | None = None, *, estimator: str = "rao"
) -> Array:
  """Estimate the entropy over the meanings of each group's answers.

  Let ell be the log_probs of the n responses that count, in K clusters c:

      rao:    w = softmax(ell),  p_c = sum of w in c,  SE = -sum_c p_c log p_c
      count:  the same with w = 1 / n
      mc:     SE = -(1 / K) sum_c log p_c, with the p_c of rao
      mc_unnormalised:  mc with p_c = sum of exp(ell) in c

  SEED-GRPO, arXiv 2505.12346. `rao` is the estimator of Farquhar et al. (2024),
  and the one that readers of SEED's released code report. `mc` gives clusters,
  rather than samples, equal weight. It does not estimate the entropy; it lies
  at or above log K.

  Deviation: the paper's formula read literally is mc_unnormalised, which can
  be negative; `mc` normalises the masses first.

  Args:
    clusters: i32[Q, G], equal = same meaning within a row; below 0 = the
      response does not count.
    log_probs: f32[Q, G], nats, one score per response under the policy that
      sampled it: the mean or the sum over its tokens. `count` needs none.
    estimator: one of ESTIMATORS.

  Returns:
    f32[Q], nats, a constant. It is exactly 0 if at most one cluster counts;
    mc_unnormalised is 0 only if none counts.

  Raises:
    ValueError: the estimator is unknown, or log_probs are missing.
  """
  chex.assert_rank(clusters, 2)
  require_one_of("semantic_entropy.estimator", estimator, ESTIMATORS)
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
  first = counted & ~jnp.any(same & earlier, axis=2)  # one per cluster
  num_clusters = jnp.sum(first, axis=1)

  total = logsumexp(scores, axis=1, where=counted, keepdims=True)
  mass = logsumexp(
    jnp.broadcast_to(scores[:, None], same.shape), axis=2, where=same
  )  # the log-mass of the cluster that response i is in
  log_p = mass if estimator == "mc_unnormalised" else mass - total
  log_p = jnp.where(counted, log_p, 0.0)
  if estimator in ("mc", "mc_unnormalised"):
    total_log_p = jnp.sum(jnp.where(first, log_p, 0.0), axis=1)
    entropy = divide(-total_log_p, num_clusters)
  else:  # sum_c p_c log p_c, as a sum over responses
    weight = jnp.where(counted, jnp.exp(scores - total), 0.0)
    entropy = -jnp.sum(weight * log_p, axis=1)
  if estimator == "mc_unnormalised":
    return entropy
  # a single cluster may have a residue of rounding
  return jnp.where(num_clusters > 1, jnp.maximum(entropy, 0.0), 0.0)


def modulation(
  entropy: Array,
  group_size: int | Array,
  *,
  form: str = "inverse",
  alpha: float = 0.0417,
) -> Array:
  """Compute f(s) in [0, 1], the factor for a group's advantages.

      inverse: 1 / (1 + alpha s)      exp:   exp(-alpha s)
      linear:  max(0, 1 - alpha s)    focal: (1 - s)^alpha

  SEED-GRPO, arXiv 2505.12346, with s = clip(SE / log G, 0, 1). f(0) = 1, and f
  falls with s. Apply it to finished advantages: if the group's standard
  deviation divided them afterwards, the factor would cancel.

  The defaults are what readers of the released code report. They shrink an
  update by 4 % at most; alpha = 0.5 or 1 makes a difference.

  Deviation: the paper's closed forms could not be checked; `linear`, `exp` and
  `focal` are the natural readings of their names. An alpha below 0, which
  would amplify uncertain prompts, is refused: the authors report a collapse.

  Args:
    entropy: f32[Q], nats, from `semantic_entropy`.
    group_size: G; or f32[Q], the number of responses of each group that count.
      Its logarithm is the largest entropy that the group can have.
    form: one of FORMS.
    alpha: strength >= 0; 0 gives a factor of 1 everywhere.

  Returns:
    f32[Q], a constant. It is exactly 1 if group_size < 2.

  Raises:
    ValueError: the form is unknown, or alpha is negative or not finite.
  """
  chex.assert_rank(entropy, 1)
  require_one_of("modulation.form", form, FORMS)
  require_in("modulation.alpha", alpha, "[0, inf)")
  size = jnp.asarray(group_size)
  most = jnp.log(jnp.maximum(size, 2).astype(entropy.dtype))
  s = jnp.maximum(jax.lax.stop_gradient(entropy) / most, 0.0)
  s = jnp.where(s > 1 - _ROUNDING, 1.0, s)
  return jnp.where(size < 2, 1.0, FORMS[form](s, alpha))
