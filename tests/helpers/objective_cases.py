"""List the objectives that the shared suite tests, and define its helpers.

A new method adds a row to OBJECTIVES, under its name. If the value of its loss
depends on log-probs that its gradient takes as constants, its name also stands
in WITH_CONSTANTS. If it has a setting that turns it off, it adds one more row:

ZERO_STRENGTH  for a member that follows a surrogate: with this setting it must
               not change the surrogate's loss and gradient
EQUALS         for a surrogate: with this setting it must equal another one
"""

import dataclasses
import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.objectives import (
  adaptive_entropy,
  adaptive_stare,
  aggregation,
  bapo,
  bcpg,
  ce_gppo,
  chain,
  cispo,
  clip_cov,
  dcpo,
  dppo,
  dynamic_clip,
  entropic,
  entropy_advantage,
  entropy_bonus,
  erc,
  gmpo,
  gspo,
  kl_cov,
  lp_reg,
  luspo,
  negative_sample_augmentation,
  off_policy_mask,
  oscillating_clip,
  policy_loss,
  positive_reweighting,
  ppo_clip,
  reference_kl,
  reinforce,
  sapo,
  sent,
  sent_released,
  simko,
  siren,
  stare,
  steer,
  top_entropy,
  vespo,
)
from entrojax.objectives.chain import add_term
from entrojax.objectives.reading import (
  placeholder_statistics,
  statistics_read,
)
from entrojax.objectives.surrogates import probability_ratio, unclipped_loss
from entrojax.types import ScoredTokens, TokenLoss
from tests.helpers.imports import require_functions

require_functions(globals())


def few_tokens(make, **settings):
  """Build an objective with a large fraction, because tests have few tokens."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    return make(**settings)


# All candidates are dropped: which ones a key draws depends on their places.
drop_all = functools.partial(
  few_tokens, clip_cov, fraction=1.0, cov_low=0.1, cov_high=5.0
)
pull_some = functools.partial(few_tokens, kl_cov, fraction=0.2)

OBJECTIVES = {
  "reinforce": reinforce(),
  "bcpg": bcpg(tau=0.1),
  "ppo_clip": ppo_clip(dual_clip=None),
  "ppo_clip, dual": ppo_clip(clip_high=0.28, dual_clip=1.5),
  "gspo": gspo(clip_low=0.1, clip_high=0.1),
  "luspo": luspo(clip_low=0.1, clip_high=0.1),
  "gmpo": gmpo(clip_low=0.1, clip_high=0.1),
  "vespo": vespo(),
  "dppo": dppo(low=0.05, high=0.05),
  "dppo, kl": dppo(divergence="kl", low=0.05, high=0.05, max_ratio=1.5),
  "cispo": cispo(),
  "sapo": sapo(tau_positive=0.8, tau_negative=1.5),
  "ce_gppo": ce_gppo(dual_clip=1.5),
  "clip_cov": drop_all(),
  "clip_cov, narrow clip": drop_all(clip_low=0.2, clip_high=0.28),
  "kl_cov, abs": pull_some(),
  "kl_cov, k2": pull_some(kl_form="k2"),
  "kl_cov, k3": pull_some(kl_form="k3"),
  "top_entropy": chain(ppo_clip(), top_entropy(fraction=0.4)),
  "top_entropy, low": chain(ppo_clip(), top_entropy(fraction=0.4, which="low")),
  "top_entropy, quantile": chain(
    ppo_clip(), top_entropy(fraction=0.4, select="quantile", norm="all")
  ),
  "steer, theorem": chain(ppo_clip(), steer(min_weight=0.5)),
  "steer, released": chain(
    ppo_clip(), steer(min_weight=0.5, form="released", floor=0.02)
  ),
  "erc": chain(ppo_clip(), erc(low=0.5, high=2.0)),
  "off_policy_mask": chain(ppo_clip(), off_policy_mask(threshold=0.05)),
  "stare": chain(
    ppo_clip(), stare(target=9.0, fraction=0.3, negative_weight=0.9)
  ),
  "adaptive_stare": chain(
    ppo_clip(), adaptive_stare(target=9.0, fraction=0.3, negative_strength=1.0)
  ),
  "positive_reweighting": chain(ppo_clip(), positive_reweighting()),
  "negative_sample_augmentation": chain(
    reinforce(), negative_sample_augmentation(beta=-0.5)
  ),
  "entropy_advantage": chain(ppo_clip(), entropy_advantage()),
  "entropic, selected": chain(ppo_clip(), entropic()),
  "entropic, all norm": chain(ppo_clip(), entropic(norm="all")),
  "entropic, all tokens": chain(ppo_clip(), entropic(min_probability=0)),
  "entropic, all tokens, all norm": chain(
    ppo_clip(), entropic(min_probability=0, norm="all")
  ),
  "reference_kl, k1, weighted": chain(
    ppo_clip(),
    reference_kl(kl_coef=0.1, estimator="k1", ratio_weighted=True),
  ),
  "reference_kl, k2": chain(
    ppo_clip(), reference_kl(kl_coef=0.1, estimator="k2")
  ),
  "reference_kl, k3": chain(
    ppo_clip(), reference_kl(kl_coef=0.1, estimator="k3")
  ),
  "sent": chain(ppo_clip(), sent(low_fraction=0.6, cov_fraction=0.3)),
  "sent_released": chain(
    ppo_clip(), sent_released(low_fraction=0.6, cov_fraction=0.3)
  ),
  "bapo": bapo(target=5.0),
  "dynamic_clip": dynamic_clip(low_share=0.5, dual_clip=1.5),
  "oscillating_clip": oscillating_clip(low_ends=(0.3, 0.0)),
  "dcpo": chain(ppo_clip(), dcpo(target=1.5)),
  "lp_reg": chain(ppo_clip(), lp_reg(fraction=0.5, candidates=4)),
  "simko": simko(mix=0.3, fraction=0.5, wrong_weight=1.5),
  "siren": chain(ppo_clip(), siren(anchor=0.5, coef=0.1, fraction=0.4)),
  "entropy_bonus": chain(ppo_clip(), entropy_bonus(entropy_coef=0.1)),
  "adaptive_entropy": chain(ppo_clip(), adaptive_entropy()),
  "all of them": chain(
    ppo_clip(dual_clip=3.0),
    entropic(),
    reference_kl(kl_coef=0.1),
    entropy_bonus(entropy_coef=0.1),
  ),
}


def has_penalty(objective) -> bool:
  """Return whether an objective adds a penalty."""
  token = jnp.zeros((1, 1))
  fields = dict.fromkeys(ScoredTokens.__dataclass_fields__, token)
  fields["statistics"] = placeholder_statistics(objective, token)
  tokens = ScoredTokens(**fields)
  done = jax.eval_shape(
    lambda t: objective(
      t, TokenLoss(terms=(), metrics={}), COEFFICIENT, jax.random.key(0)
    ),
    tokens,
  )
  return bool(done.penalties)


COEFFICIENT = 0.7  # of the controller; not 0, so that it acts

# A loss whose value depends on log-probs that its gradient takes as constants
# is not the integral of that gradient: golden vectors check these instead.
# check_grads would also move statistics of the old policy, which are constants.
WITH_CONSTANTS = (
  *("cispo", "vespo", "dppo", "ce_gppo", "steer", "erc", "entropy_advantage"),
  *("simko", "dcpo", "lp_reg", "off_policy_mask"),
)
INTEGRABLE = [n for n in OBJECTIVES if not n.startswith(WITH_CONSTANTS)]
AGGREGATIONS = [
  "token-mean",
  "seq-mean-token-sum",
  "seq-mean-token-mean",
  "seq-mean-token-sum-norm",
]


def evaluate(objective, tokens, aggregate="token-mean", coefficient=None):
  """Compute ((loss, metrics), gradients in all that the objective may learn).

  There is one gradient for log_probs, one for entropy, and one for each
  statistic that the objective has declared.
  """
  coefficient = COEFFICIENT if coefficient is None else coefficient

  def loss(learned):
    return policy_loss(
      objective,
      aggregation.by_name(aggregate, length=9),
      with_learned(tokens, objective, learned),
      coefficient=coefficient,
    )

  return jax.value_and_grad(loss, has_aux=True)(learned_of(tokens, objective))


def learned_of(tokens, objective) -> tuple:
  """Return log-probs, entropies and the statistics that are declared."""
  statistics = (tokens.statistics[s] for s in statistics_read(objective))
  return (tokens.log_probs, tokens.entropy, *statistics)


def with_learned(tokens, objective, learned) -> ScoredTokens:
  """Replace the fields that `learned_of` returns."""
  log_probs, entropy, *values = learned
  statistics = dict(zip(statistics_read(objective), values, strict=True))
  return dataclasses.replace(
    tokens, log_probs=log_probs, entropy=entropy, statistics=statistics
  )


def evaluate_all(objective, tokens):
  """Compute `evaluate` under all AGGREGATIONS, in one pass over the objective.

  Returns:
    ((losses [4], metrics), gradients [4, B, T] in all that is learned).
  """
  aggregates = [aggregation.by_name(name, length=9) for name in AGGREGATIONS]

  def losses(*learned):
    return policy_loss(
      objective,
      lambda *term: jnp.stack([aggregate(*term) for aggregate in aggregates]),
      with_learned(tokens, objective, learned),
      coefficient=COEFFICIENT,
    )

  values, transpose, metrics = jax.vjp(
    losses, *learned_of(tokens, objective), has_aux=True
  )
  return (values, metrics), jax.vmap(transpose)(jnp.eye(len(aggregates)))


def widen(mask, x):
  """Give a mask [B, T] the axes that a statistic [B, T, k] has."""
  return mask.reshape(*mask.shape, *(1 for _ in x.shape[2:]))


def map_fields(function, tokens) -> ScoredTokens:
  """Apply `function` to every field of `tokens`."""
  return jax.tree.map(function, tokens)


def hand_tokens(log_ratios, advantages, **fields) -> ScoredTokens:
  """Build one row for each list; old policy at log-prob -1, no padding."""
  log_ratios, advantages = np.float32(log_ratios), np.float32(advantages)
  ones = np.ones_like(log_ratios)
  fields = {
    "log_probs": log_ratios - 1,
    "old_log_probs": -ones,
    "entropy": ones,
    "old_entropy": ones,
    "advantages": advantages,
    "mask": ones,
    **fields,
  }
  return ScoredTokens(**{k: jnp.asarray(v) for k, v in fields.items()})


def unclipped(tokens, token_loss, coefficient, key):
  """Add the term -A r, the plain policy gradient."""
  del coefficient, key
  ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
  loss = unclipped_loss(ratio, tokens.advantages)
  return add_term(token_loss, loss, tokens.mask, {})


def same(actual, expected, message=""):
  jax.tree.map(
    lambda a, e: np.testing.assert_array_equal(a, e, message), actual, expected
  )


def near(actual, expected):
  """Assert equality up to the order of float32 sums of some 50 terms."""
  jax.tree.map(
    lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6),
    actual,
    expected,
  )


ZERO_STRENGTH = {
  "entropic": (entropic(), 0.0),
  "entropic, all norm": (entropic(norm="all"), 0.0),
  "entropic, all tokens": (entropic(min_probability=0), 0.0),
  "reference_kl, k1": (reference_kl(kl_coef=0.0, estimator="k1"), None),
  "reference_kl, k2": (reference_kl(kl_coef=0.0, estimator="k2"), None),
  "reference_kl, k3": (reference_kl(kl_coef=0.0, estimator="k3"), None),
  "sent": (sent(beta_low=0.0, beta_high=0.0), None),
  "sent, no tokens": (sent(low_fraction=0.0), None),
  "sent_released": (sent_released(beta_low=0.0, beta_high=0.0), None),
  "sent_released, no tokens": (sent_released(cov_fraction=0.0), None),
  "siren": (siren(coef=0.0), None),
  "dcpo": (dcpo(limit=0.0), None),
  "lp_reg": (lp_reg(coef=0.0, candidates=4), None),
  "lp_reg, no tokens": (lp_reg(fraction=0.0, candidates=4), None),
  "entropy_bonus": (entropy_bonus(entropy_coef=0.0), None),
  "adaptive_entropy": (adaptive_entropy(), 0.0),
  "top_entropy": (top_entropy(fraction=1.0), None),
  "top_entropy, all norm": (top_entropy(fraction=1.0, norm="all"), None),
  "top_entropy, quantile": (
    top_entropy(fraction=1.0, select="quantile"),
    None,
  ),
  "steer, theorem": (steer(min_weight=1.0), None),
  "steer, released": (steer(min_weight=1.0, form="released"), None),
  "erc": (erc(low=0.0, high=np.inf), None),
  "off_policy_mask": (off_policy_mask(threshold=np.inf), None),
  "stare, weights 1": (stare(target=9.0, positive_weight=1.0), None),
  "stare, above its target": (stare(target=0.1), None),
  "stare, no tokens": (stare(target=9.0, fraction=0.0), None),
  "adaptive_stare": (adaptive_stare(target=9.0, negative_strength=1.0), 1.0),
  "positive_reweighting": (positive_reweighting(), 1.0),
  "entropy_advantage": (entropy_advantage(alpha=0.0), None),
  "negative_sample_augmentation": (
    negative_sample_augmentation(beta=1.0),
    None,
  ),
}


EQUALS = {
  "dynamic_clip, no share": (dynamic_clip(high_share=0.0), ppo_clip()),
  "bapo, target 0": (bapo(target=0.0), ppo_clip()),
  "simko, no mix": (
    simko(mix=0.0, wrong_weight=1.0),
    ppo_clip(dual_clip=None),
  ),
  "bcpg, tau 0": (bcpg(tau=0.0), reinforce()),
  "clip_cov, fraction 0": (
    clip_cov(fraction=0.0, clip_low=0.2, clip_high=0.28),
    ppo_clip(clip_low=0.2, clip_high=0.28, dual_clip=None),
  ),
  "clip_cov, no candidates": (
    drop_all(cov_low=98.0, cov_high=99.0),
    ppo_clip(clip_low=1.0, clip_high=1.0, dual_clip=None),
  ),
  "kl_cov, fraction 0": (kl_cov(fraction=0.0), unclipped),
  "kl_cov, kl_coef 0": (pull_some(kl_coef=0.0), unclipped),
}


# every objective, and one that draws tokens at random
DRAWN = {
  **OBJECTIVES,
  "clip_cov, drawn": few_tokens(clip_cov, fraction=0.1, cov_low=0.01),
}
