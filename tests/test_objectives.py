"""The suite that every objective passes, and what each promises by itself.

A method to come adds a row to OBJECTIVES and, if it has a strength, one to
ZERO_STRENGTH (a term or a transform) or EQUALS (a surrogate).
"""

import dataclasses
import functools
import warnings

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from entrojax import aggregation
from entrojax.control import PIState, entropic_pi
from entrojax.covariance import token_covariance
from entrojax.objectives import (
  ce_gppo,
  chain,
  cispo,
  clip_cov,
  entropic,
  entropy_advantage,
  entropy_bonus,
  erc,
  gspo,
  kl_cov,
  policy_loss,
  ppo_clip,
  reference_kl,
  reinforce,
  stare,
  steer,
  top_entropy,
)
from entrojax.objectives.chain import add_term
from entrojax.objectives.reference_kl import k1, k2, k3
from entrojax.selection import above_quantile, ceil_share, floor_share
from entrojax.sharding import by_row, make_mesh
from entrojax.surrogates import probability_ratio, unclipped_loss
from entrojax.types import ScoredTokens, TokenLoss


def few_tokens(make, **settings):
  """Makes an objective whose fraction is large, for tests have few tokens."""
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
  "ppo_clip": ppo_clip(),
  "ppo_clip, dual": ppo_clip(clip_high=0.28, dual_clip=1.5),
  "gspo": gspo(clip_low=0.1, clip_high=0.1),
  "cispo": cispo(),
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
  "stare": chain(
    ppo_clip(), stare(target=9.0, fraction=0.3, negative_weight=0.9)
  ),
  "entropy_advantage": chain(ppo_clip(), entropy_advantage()),
  "entropic, selected": chain(ppo_clip(), entropic()),
  "entropic, all norm": chain(ppo_clip(), entropic(norm="all")),
  "entropic, all tokens": chain(ppo_clip(), entropic(min_probability=0)),
  "entropic, all tokens, all norm": chain(
    ppo_clip(), entropic(min_probability=0, norm="all")
  ),
  "reference_kl, k1": chain(
    ppo_clip(), reference_kl(kl_coef=0.1, estimator="k1")
  ),
  "reference_kl, k2": chain(
    ppo_clip(), reference_kl(kl_coef=0.1, estimator="k2")
  ),
  "reference_kl, k3": chain(
    ppo_clip(), reference_kl(kl_coef=0.1, estimator="k3")
  ),
  "entropy_bonus": chain(ppo_clip(), entropy_bonus(entropy_coef=0.1)),
  "all of them": chain(
    ppo_clip(dual_clip=3.0),
    entropic(),
    reference_kl(kl_coef=0.1),
    entropy_bonus(entropy_coef=0.1),
  ),
}
# Where there is no advantage, these have nothing to do.
PPO_TYPE = [
  name
  for name in OBJECTIVES
  if not name.startswith(
    ("kl_cov", "reference_kl", "entropy_bonus", "all of them")
  )
]
# A loss whose value depends on log-probs that its gradient takes as constants
# is not the integral of that gradient: golden vectors check these instead.
WITH_CONSTANTS = ("cispo", "ce_gppo", "steer", "erc", "entropy_advantage")
INTEGRABLE = [n for n in OBJECTIVES if not n.startswith(WITH_CONSTANTS)]
AGGREGATIONS = [
  "token-mean",
  "seq-mean-token-sum",
  "seq-mean-token-mean",
  "seq-mean-token-sum-norm",
]
SHARES = [  # fraction, count, (floor, ceil); in float32 0.53 x 100 < 53
  (0.53, 100, (53, 53)),
  (0.13, 900, (117, 117)),
  (0.15, 100, (15, 15)),
  (0.6, 25, (15, 15)),
  (0.2, 14, (2, 3)),
  (0.2, 16, (3, 4)),
  (0.01, 3, (1, 1)),
  (0.0, 3, (0, 0)),
  (1.0, 11, (11, 11)),
]
COEFFICIENT = 0.7  # of the controller; not 0, so that it acts

every_objective = pytest.mark.parametrize("name", OBJECTIVES)
every_aggregation = pytest.mark.parametrize("aggregate", AGGREGATIONS)


def evaluated(objective, tokens, aggregate="token-mean", coefficient=None):
  """Returns ((loss, metrics), gradients in log_probs and entropy)."""
  coefficient = COEFFICIENT if coefficient is None else coefficient

  def loss(log_probs, entropy):
    return policy_loss(
      objective,
      aggregation.by_name(aggregate, length=9),
      dataclasses.replace(tokens, log_probs=log_probs, entropy=entropy),
      coefficient=coefficient,
    )

  return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
    tokens.log_probs, tokens.entropy
  )


def mapped(function, tokens) -> ScoredTokens:
  """Returns `tokens` with `function` applied to every field."""
  return jax.tree.map(function, tokens)


def hand_tokens(log_ratios, advantages, **fields) -> ScoredTokens:
  """Returns one row a list, old policy at log-prob -1, no padding."""
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
  """The plain policy gradient: -A r."""
  del coefficient, key
  ratio = probability_ratio(tokens.log_probs, tokens.old_log_probs)
  loss = unclipped_loss(ratio, tokens.advantages)
  return add_term(token_loss, loss, tokens.mask, {})


def same(actual, expected, message=""):
  jax.tree.map(
    lambda a, e: np.testing.assert_array_equal(a, e, message), actual, expected
  )


def near(actual, expected):
  """Equal but for float32 sums of some 50 terms taken in another order."""
  jax.tree.map(
    lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6),
    actual,
    expected,
  )


# -- what all of them share ---------------------------------------------------

ZERO_STRENGTH = {
  "entropic": (entropic(), 0.0),
  "entropic, all norm": (entropic(norm="all"), 0.0),
  "entropic, all tokens": (entropic(min_probability=0), 0.0),
  "reference_kl, k1": (reference_kl(kl_coef=0.0, estimator="k1"), None),
  "reference_kl, k2": (reference_kl(kl_coef=0.0, estimator="k2"), None),
  "reference_kl, k3": (reference_kl(kl_coef=0.0, estimator="k3"), None),
  "entropy_bonus": (entropy_bonus(entropy_coef=0.0), None),
  "top_entropy": (top_entropy(fraction=1.0), None),
  "top_entropy, all norm": (top_entropy(fraction=1.0, norm="all"), None),
  "top_entropy, quantile": (
    top_entropy(fraction=1.0, select="quantile"),
    None,
  ),
  "steer, theorem": (steer(min_weight=1.0), None),
  "steer, released": (steer(min_weight=1.0, form="released"), None),
  "erc": (erc(low=0.0, high=np.inf), None),
  "stare, weights 1": (stare(target=9.0, positive_weight=1.0), None),
  "stare, above its target": (stare(target=0.1), None),
  "stare, no tokens": (stare(target=9.0, fraction=0.0), None),
  "entropy_advantage": (entropy_advantage(alpha=0.0), None),
}


@pytest.mark.parametrize("base", ["reinforce", "ppo_clip, dual"])
@pytest.mark.parametrize("name", ZERO_STRENGTH)
def test_at_zero_strength_a_term_is_not_there_bitwise(
  name, base, random_tokens
):
  term, coefficient = ZERO_STRENGTH[name]
  base, tokens = OBJECTIVES[base], random_tokens(0, 5, 7)
  (loss, _), gradients = evaluated(
    chain(base, term), tokens, coefficient=coefficient
  )
  (base_loss, _), base_gradients = evaluated(base, tokens)
  same((loss, gradients), (base_loss, base_gradients))


EQUALS = {
  "clip_cov, fraction 0": (
    clip_cov(fraction=0.0, clip_low=0.2, clip_high=0.28),
    ppo_clip(clip_low=0.2, clip_high=0.28),
  ),
  "clip_cov, no candidates": (
    drop_all(cov_low=98.0, cov_high=99.0),
    ppo_clip(clip_low=1.0, clip_high=1.0),
  ),
  "kl_cov, fraction 0": (kl_cov(fraction=0.0), unclipped),
  "kl_cov, kl_coef 0": (pull_some(kl_coef=0.0), unclipped),
}


@pytest.mark.parametrize("name", EQUALS)
def test_a_method_with_nothing_to_do_equals_its_base_bitwise(
  name, random_tokens
):
  method, base = EQUALS[name]
  tokens = random_tokens(0, 5, 7)
  (loss, _), gradients = evaluated(method, tokens)
  (base_loss, _), base_gradients = evaluated(base, tokens)
  same((loss, gradients), (base_loss, base_gradients))


@every_objective
def test_the_content_of_padding_changes_nothing(name, random_tokens):
  tokens = random_tokens(1, 5, 7)

  def with_padding(content):
    filled = mapped(lambda x: jnp.where(tokens.mask > 0, x, content), tokens)
    return dataclasses.replace(filled, mask=tokens.mask)

  expected = evaluated(OBJECTIVES[name], with_padding(0.0))
  for content in (jnp.nan, jnp.inf, -jnp.inf, 1e30, -1e30):
    found = evaluated(OBJECTIVES[name], with_padding(content))
    same(found, expected, f"padding {content}")


@every_objective
def test_loss_gradients_and_metrics_are_finite_beside_garbage(
  name, random_tokens
):
  found = evaluated(OBJECTIVES[name], random_tokens(2, 5, 7))
  assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(found))


@every_objective
def test_padding_has_no_gradient(name, random_tokens):
  tokens = random_tokens(2, 5, 7)
  _, gradients = evaluated(OBJECTIVES[name], tokens)
  for gradient in gradients:
    same(gradient * (1 - tokens.mask), jnp.zeros((5, 7)))


@every_aggregation
@every_objective
def test_empty_rows_and_padded_columns_change_nothing(
  name, aggregate, random_tokens
):
  tokens = random_tokens(3, 5, 7)
  larger = mapped(
    lambda x: jnp.pad(x, ((0, 3), (0, 4)), constant_values=jnp.nan), tokens
  )
  larger = dataclasses.replace(larger, mask=jnp.nan_to_num(larger.mask))
  (loss, metrics), gradients = evaluated(OBJECTIVES[name], larger, aggregate)
  gradients = jax.tree.map(lambda g: g[:5, :7], gradients)
  near(
    ((loss, metrics), gradients),
    evaluated(OBJECTIVES[name], tokens, aggregate),
  )


@every_aggregation
@every_objective
def test_rows_permute(name, aggregate, random_tokens):
  tokens, order = random_tokens(4, 5, 7), jnp.array([3, 0, 4, 1, 2])
  value, gradients = evaluated(OBJECTIVES[name], tokens, aggregate)
  gradients = jax.tree.map(lambda g: g[order], gradients)
  permuted = mapped(lambda x: x[order], tokens)
  near(evaluated(OBJECTIVES[name], permuted, aggregate), (value, gradients))


DRAWN = {
  **OBJECTIVES,
  "clip_cov, drawn": few_tokens(clip_cov, fraction=0.1, cov_low=0.01),
}


@pytest.mark.parametrize("name", DRAWN)
def test_rows_on_eight_devices_give_the_same_numbers(name, random_tokens):
  tokens = random_tokens(4, 8, 7)
  compute = jax.jit(lambda tokens: evaluated(DRAWN[name], tokens))
  rows = jax.device_put(tokens, by_row(make_mesh((8, 1, 1))))
  near(jax.device_get(compute(rows)), jax.device_get(compute(tokens)))


@every_objective
def test_one_trace_serves_all_values(name, random_tokens):
  traces = 0

  @jax.jit
  def loss(tokens, coefficient, key):
    nonlocal traces
    traces += 1
    return policy_loss(
      OBJECTIVES[name],
      aggregation.token_mean,
      tokens,
      coefficient=coefficient,
      key=key,
    )

  for seed in range(3):
    loss(random_tokens(seed, 5, 7), seed / 2 - 1, jax.random.key(seed))
  assert traces == 1


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", INTEGRABLE)
def test_analytic_gradients_are_numerical_gradients(name, random_tokens):
  tokens = random_tokens(5, 4, 5, np.float64)

  def loss(log_probs, entropy):
    return policy_loss(
      OBJECTIVES[name],
      aggregation.token_mean,
      dataclasses.replace(tokens, log_probs=log_probs, entropy=entropy),
      coefficient=COEFFICIENT,
    )[0]

  # A central difference of step 1e-5 errs by 1e-10 twice: by its square and by
  # float64's rounding over it.
  check_grads(
    loss,
    (tokens.log_probs, tokens.entropy),
    order=1,
    modes=["rev"],
    eps=1e-5,
    atol=1e-8,
    rtol=1e-8,
  )


@every_objective
def test_float32_tokens_give_float32_numbers(name, random_tokens):
  found = evaluated(OBJECTIVES[name], random_tokens(6, 5, 7))
  assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype("float32")}


@pytest.mark.usefixtures("float64")
@every_objective
def test_float64_tokens_give_a_float64_loss(name, random_tokens):
  (loss, _), gradients = evaluated(
    OBJECTIVES[name], random_tokens(6, 5, 7, np.float64)
  )
  for x in (loss, *gradients):
    assert x.dtype == jnp.float64


@every_aggregation
@every_objective
def test_an_empty_mask_has_loss_and_gradients_of_0(
  name, aggregate, random_tokens
):
  tokens = random_tokens(7, 5, 7)
  empty = dataclasses.replace(tokens, mask=jnp.zeros_like(tokens.mask))
  (loss, _), gradients = evaluated(OBJECTIVES[name], empty, aggregate)
  same((loss, gradients), jax.tree.map(jnp.zeros_like, (loss, gradients)))


@pytest.mark.parametrize("name", PPO_TYPE)
def test_without_advantages_loss_and_gradients_are_exactly_0(
  name, random_tokens
):
  tokens = random_tokens(8, 5, 7)
  tokens = dataclasses.replace(
    tokens, advantages=jnp.zeros_like(tokens.advantages)
  )
  (loss, _), gradients = evaluated(OBJECTIVES[name], tokens)
  same((loss, gradients), jax.tree.map(jnp.zeros_like, (loss, gradients)))


@every_objective
def test_only_log_probs_and_entropy_are_learned(name, random_tokens):
  gradients = jax.grad(
    lambda tokens: policy_loss(
      OBJECTIVES[name],
      aggregation.token_mean,
      tokens,
      coefficient=COEFFICIENT,
    )[0]
  )(random_tokens(9, 5, 7))
  for field in dataclasses.fields(gradients):
    if field.name not in ("log_probs", "entropy"):
      gradient = getattr(gradients, field.name)
      same(gradient, jnp.zeros((5, 7)), field.name)


@pytest.mark.parametrize(
  "field",
  [f.name for f in dataclasses.fields(ScoredTokens) if f.name != "mask"],
)
def test_a_field_of_another_shape_is_named(field, random_tokens):
  tokens = random_tokens(10, 5, 7)
  narrow = dataclasses.replace(tokens, **{field: getattr(tokens, field)[:, :1]})
  with pytest.raises(ValueError, match=rf"^{field} has shape \(5, 1\)"):
    policy_loss(ppo_clip(), aggregation.token_mean, narrow)


@pytest.mark.parametrize(
  ("make", "settings", "message"),
  [
    (ppo_clip, {"clip_low": -0.1}, r"clip_low .* -0\.1"),
    (ppo_clip, {"clip_low": 1.1}, r"clip_low .* 1\.1"),
    (ppo_clip, {"clip_high": -0.2}, r"clip_high .* -0\.2"),
    (ppo_clip, {"dual_clip": 1.2}, r"dual_clip .* 1\.2, got 1\.2"),
    (ppo_clip, {"dual_clip": -3.0}, r"dual_clip .* -3\.0"),
    (clip_cov, {"fraction": 1.5}, r"clip_cov\.fraction .* 1\.5"),
    (clip_cov, {"cov_low": 5.0}, r"cov_low .* 5\.0, got 5\.0"),
    (clip_cov, {"clip_low": 2.0}, r"clip_low .* 2\.0"),
    (clip_cov, {"clip_high": -1.0}, r"clip_high .* -1\.0"),
    (kl_cov, {"fraction": -0.1}, r"kl_cov\.fraction .* -0\.1"),
    (kl_cov, {"kl_coef": -1.0}, r"kl_coef .* -1\.0"),
    (kl_cov, {"kl_form": "k1"}, r"kl_form .*'abs', 'k2', 'k3'.* 'k1'"),
    (gspo, {"clip_low": 2.0}, r"gspo\.clip_low .* 2\.0"),
    (gspo, {"clip_high": -1.0}, r"gspo\.clip_high .* -1\.0"),
    (cispo, {"clip_low": 2.0}, r"cispo\.clip_low .* 2\.0"),
    (cispo, {"clip_high": -1.0}, r"cispo\.clip_high .* -1\.0"),
    (ce_gppo, {"clip_low": 2.0}, r"ce_gppo\.clip_low .* 2\.0"),
    (ce_gppo, {"beta_low": -1.0}, r"beta_low .* -1\.0"),
    (ce_gppo, {"dual_clip": 1.0}, r"dual_clip .* 1\.28, got 1\.0"),
    (erc, {"low": 1.0}, r"erc\.low .* 1\.0"),
    (erc, {"high": 1.0}, r"erc\.high .* 1\.0"),
    (stare, {"target": -0.3}, r"stare\.target .* -0\.3"),
    (stare, {"fraction": 10}, r"stare\.fraction .* 10"),
    (stare, {"negative_weight": -1.0}, r"negative_weight .* -1\.0"),
    (entropy_advantage, {"alpha": -0.4}, r"alpha .* -0\.4"),
    (entropy_advantage, {"kappa": 1.0}, r"kappa .* 1\.0"),
    (top_entropy, {"fraction": 0.0}, r"top_entropy\.fraction .* 0\.0"),
    (top_entropy, {"select": "all"}, r"select .*'top', 'quantile'.* 'all'"),
    (top_entropy, {"which": "top"}, r"which .*'high', 'low'.* 'top'"),
    (top_entropy, {"norm": "none"}, r"norm .*'selected', 'all'.* 'none'"),
    (steer, {"min_weight": 0.0}, r"min_weight .* 0\.0"),
    (steer, {"form": "paper"}, r"form .* 'paper'"),
    (steer, {"floor": 0.0}, r"floor .* 0\.0"),
    (steer, {"clip_low": -0.2}, r"steer\.clip_low .* -0\.2"),
    (entropic, {"min_probability": 1.0}, r"min_probability .* 1\.0"),
    (entropic, {"min_probability": -0.5}, r"min_probability .* -0\.5"),
    (entropic, {"norm": "tokens"}, r"norm .* 'tokens'"),
    (reference_kl, {"kl_coef": -1.0}, r"kl_coef .* -1\.0"),
    (
      reference_kl,
      {"kl_coef": 1.0, "estimator": "k4"},
      r"\bestimator .*'k1', 'k2', 'k3'.* 'k4'",
    ),
    (entropy_bonus, {"entropy_coef": -0.01}, r"entropy_coef .* -0\.01"),
  ],
)
def test_a_setting_that_cannot_work_is_named_with_its_value(
  make, settings, message
):
  with pytest.raises(ValueError, match=message):
    make(**settings)


# -- chain --------------------------------------------------------------------


def test_a_chain_of_nothing_is_refused():
  with pytest.raises(ValueError, match="at least one objective"):
    chain()


def test_a_chain_without_a_term_is_refused(random_tokens):
  nothing = lambda tokens, token_loss, coefficient, key: token_loss
  with pytest.raises(ValueError, match="no term"):
    policy_loss(nothing, aggregation.token_mean, random_tokens(0, 5, 7))


@pytest.mark.parametrize(
  "transform", [top_entropy(), steer(), erc(), stare(), entropy_advantage()]
)
def test_a_transform_without_a_term_before_it_is_refused(
  transform, random_tokens
):
  with pytest.raises(ValueError, match="after a surrogate"):
    evaluated(chain(transform, ppo_clip()), random_tokens(0, 5, 7))


def test_the_members_of_a_chain_add(random_tokens):
  tokens = random_tokens(11, 5, 7)
  members = (ppo_clip(), entropic(), entropy_bonus(entropy_coef=0.1))
  (loss, _), gradients = evaluated(chain(*members), tokens)
  alone = [evaluated(member, tokens) for member in members]
  near(loss, sum(value[0] for value, _ in alone))
  near(gradients, jax.tree.map(lambda *g: sum(g), *(g for _, g in alone)))


def test_each_member_of_a_chain_draws_from_its_own_key(random_tokens):
  drawn = []

  def member(tokens, token_loss, coefficient, key):
    drawn.append(float(jax.random.uniform(key)))
    return TokenLoss(
      (*token_loss.terms, *ppo_clip()(tokens, token_loss, 0.0, key).terms), {}
    )

  policy_loss(
    chain(member, member), aggregation.token_mean, random_tokens(0, 5, 7)
  )
  assert drawn[0] != drawn[1]


# -- reinforce and ppo_clip ---------------------------------------------------


def test_reinforce_is_the_mean_of_minus_a_log_pi():
  tokens = hand_tokens([[0.0, -1.0], [-3.0, 0.5]], [[2, 2], [-1, -1]])
  (loss, _), (gradient, _) = evaluated(reinforce(), tokens)
  # -(2 * -1 + 2 * -2 - -4 - -0.5) / 4
  same(loss, 0.375)
  same(gradient, -tokens.advantages / 4)


def test_at_a_ratio_of_1_ppo_has_the_policy_gradient_exactly():
  tokens = hand_tokens(np.zeros((2, 4)), [[2.0] * 4, [-1.0] * 4])
  (loss, _), (gradient, _) = evaluated(ppo_clip(), tokens)
  same(loss, -0.5)
  same(gradient, -tokens.advantages / 8)


def test_ppo_clips_only_where_the_ratio_has_gone_the_advantage_s_way():
  log_ratios = np.log([[1.5, 0.5], [1.5, 0.5]])
  tokens = hand_tokens(log_ratios, [[1, 1], [-1, -1]])
  (loss, metrics), (gradient, _) = evaluated(
    ppo_clip(clip_low=0.2, clip_high=0.28), tokens
  )
  near(loss, (-1.28 - 0.5 + 1.5 + 0.8) / 4)
  near(gradient, np.array([[0, -0.5], [1.5, 0]]) / 4)
  assert metrics["actor/pg_clipfrac"].total == 2
  assert metrics["actor/pg_clipfrac"].count == 4


def test_the_dual_clip_binds_at_negative_advantages_only():
  tokens = hand_tokens(np.log([[5.0, 2.0], [5.0, 2.0]]), [[1, 1], [-1, -1]])
  (loss, metrics), (gradient, _) = evaluated(
    ppo_clip(clip_low=0.2, clip_high=9.0, dual_clip=20.0), tokens
  )
  near(loss, 0.0)
  assert metrics["actor/pg_clipfrac_lower"].total == 0
  (loss, metrics), (gradient, _) = evaluated(
    ppo_clip(clip_low=0.2, clip_high=1.5, dual_clip=3.0), tokens
  )
  near(loss, (-2.5 - 2 + 3 + 2) / 4)
  near(gradient, np.array([[0, -2], [0, 2]]) / 4)
  assert metrics["actor/pg_clipfrac_lower"].total == 1


def test_a_log_ratio_beyond_20_stays_finite_and_stops_learning():
  tokens = hand_tokens([[30.0, -2e4]], [[-1.0, -1.0]])
  (loss, _), (gradient, _) = evaluated(ppo_clip(clip_low=1.0), tokens)
  # (exp(20) + exp(-20)) / 2, float32 keeps 7 digits
  np.testing.assert_allclose(loss, np.exp(20) / 2, rtol=1e-6)
  same(gradient, jnp.zeros((1, 2)))


# -- entropic -----------------------------------------------------------------


@pytest.mark.parametrize("coefficient", [1.0, -1.0])
def test_full_strength_on_all_tokens_doubles_one_sign_and_drops_the_other(
  coefficient,
):
  tokens = hand_tokens(np.zeros((2, 3)), [[0.7] * 3, [-0.3] * 3])
  _, (gradient, _) = evaluated(
    OBJECTIVES["entropic, all tokens, all norm"],
    tokens,
    coefficient=coefficient,
  )
  doubled = np.array([[2.0], [0.0]] if coefficient > 0 else [[0.0], [2.0]])
  same(gradient, np.float32(doubled) * (-tokens.advantages / 6))


@pytest.mark.parametrize("norm", ["selected", "all"])
def test_below_the_target_probable_tokens_are_moved_so_that_entropy_rises(
  norm,
):
  tokens = hand_tokens(
    [[0.99, 0.0], [0.99, 0.0]], [[1, 1], [-1, -1]], entropy=np.full((2, 2), 0.1)
  )
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  controller = entropic_pi(target=0.5)
  coefficient = controller.coefficient(
    PIState(integral=jnp.float32(0)), jnp.float32(0.1)
  )
  _, (gradient, _) = evaluated(
    chain(ppo_clip(), entropic(norm=norm)), tokens, coefficient=coefficient
  )
  _, (ppo, _) = evaluated(ppo_clip(), tokens)
  # descent moves log-probs by -gradient: a right token rises less than under
  # PPO, a wrong one falls more, improbable tokens move as under PPO
  assert ppo[0, 0] < gradient[0, 0]
  assert 0 < ppo[1, 0] < gradient[1, 0]
  same(gradient[:, 1], ppo[:, 1])


def test_norm_selected_turns_the_sign_of_a_positive_sample():
  # 1 of 4 tokens is probable: its weight is 1 - 0.5 * 4 = -1
  tokens = hand_tokens([[0.99, 0, 0, 0]], [[1, 1, 1, 1]])
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  _, (gradient, _) = evaluated(
    chain(ppo_clip(), entropic()), tokens, coefficient=-0.5
  )
  near(gradient, np.array([[1, -1, -1, -1]]) / 4)


def test_entropic_is_0_where_no_token_is_probable():
  tokens = hand_tokens(np.zeros((2, 3)), np.ones((2, 3)))
  (loss, metrics), gradients = evaluated(entropic(), tokens)
  same((loss, gradients), jax.tree.map(jnp.zeros_like, (loss, gradients)))
  assert metrics["entropic/touched"].total == 0


def test_a_token_is_probable_by_the_current_policy():
  log_probs = np.log([[0.96, 0.94, 0.96, 0.94]])
  tokens = hand_tokens(
    log_probs + 1,
    np.ones((1, 4)),
    old_log_probs=np.float32(np.log([[0.96, 0.94, 0.94, 0.96]])),
  )
  _, (gradient, _) = evaluated(entropic(), tokens)
  assert np.flatnonzero(gradient).tolist() == [0, 2]


def test_entropic_does_not_clip_its_ratio():
  tokens = hand_tokens(np.log([[5.0]]), [[2.0]])
  (loss, _), _ = evaluated(entropic(min_probability=0), tokens, coefficient=0.5)
  near(loss, -0.5 * 2 * 5)


# -- gspo, cispo and ce_gppo --------------------------------------------------


def test_gspo_clips_whole_sequences():
  # mean log-ratios 0.05 and 0.2: the second sequence is clipped as a whole,
  # though one of its tokens has not moved; the third one's A is negative
  tokens = hand_tokens(
    [[0.1, 0.0], [0.4, 0.0], [0.4, 0.0]], [[1] * 2, [1] * 2, [-1] * 2]
  )
  (loss, metrics), (gradient, _) = evaluated(
    gspo(clip_low=0.1, clip_high=0.1), tokens, "seq-mean-token-mean"
  )
  near(loss, (-np.exp(0.05) - 1.1 + np.exp(0.2)) / 3)
  per_row = np.array([[-np.exp(0.05)], [0], [np.exp(0.2)]]) / 6
  near(gradient, np.float32(np.repeat(per_row, 2, axis=1)))
  assert metrics["actor/pg_clipfrac"].total == 2


def test_on_the_sampling_policy_every_surrogate_has_one_gradient(random_tokens):
  tokens = random_tokens(19, 5, 7)
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  _, expected = evaluated(ppo_clip(), tokens)
  for objective in (reinforce(), gspo(), cispo(), ce_gppo()):
    near(evaluated(objective, tokens)[1], expected)


def test_cispo_weighs_log_probs_with_the_clipped_ratio():
  tokens = hand_tokens(np.log([[1.5, 0.5, 1.1]]), [[2, -1, 1]])
  _, (gradient, _) = evaluated(cispo(clip_low=0.2, clip_high=0.28), tokens)
  near(gradient, np.float32([[-1.28 * 2, 0.8, -1.1]]) / 3)


def test_ce_gppo_of_no_strength_has_the_gradients_of_ppo(random_tokens):
  tokens = random_tokens(20, 5, 7)
  _, gradients = evaluated(ce_gppo(beta_low=0.0, beta_high=0.0), tokens)
  same(gradients, evaluated(ppo_clip(clip_high=0.28), tokens)[1])


def test_ce_gppo_of_full_strength_has_the_value_of_ppo(random_tokens):
  tokens = random_tokens(21, 5, 7)
  (loss, _), _ = evaluated(ce_gppo(beta_low=1.0, beta_high=1.0), tokens)
  near(loss, evaluated(ppo_clip(clip_high=0.28), tokens)[0][0])


def test_ce_gppo_keeps_a_bounded_gradient_where_ppo_clips():
  log_ratios = np.log([[1.5, 0.5], [1.5, 0.5]])
  tokens = hand_tokens(log_ratios, [[1, 1], [-1, -1]])
  _, (gradient, _) = evaluated(ce_gppo(beta_low=0.5, beta_high=0.25), tokens)
  expected = np.array([[-0.25 * 1.28, -0.5], [1.5, 0.5 * 0.8]]) / 4
  near(gradient, np.float32(expected))


# -- erc, stare and entropy_advantage -----------------------------------------


def test_erc_stops_tokens_whose_entropy_moved_and_keeps_their_value():
  tokens = hand_tokens(
    np.zeros((1, 4)),
    np.ones((1, 4)),
    entropy=np.float32([[1.0, 1.2, 0.8, 1.04]]),
  )
  (loss, metrics), (gradient, _) = evaluated(chain(ppo_clip(), erc()), tokens)
  same(loss, -1.0)
  same(gradient, np.float32([[-0.25, 0, 0, -0.25]]))
  assert metrics["erc/touched"].total == 2


def test_stare_weighs_the_most_surprising_tokens_of_each_sign():
  log_probs = np.float32([[-0.1, -3, -1, -2], [-0.3, -0.1, -4, -0.2]])
  tokens = hand_tokens(log_probs + 1, [[1] * 4, [-1] * 4])
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  transform = stare(
    target=1.5, fraction=0.3, positive_weight=1.5, negative_weight=0.5
  )
  _, (gradient, _) = evaluated(chain(ppo_clip(), transform), tokens)
  # ceil(0.3 * 4) = 2 tokens of each sign
  expected = np.array([[-1, -1.5, -1, -1.5], [0.5, 1, 0.5, 1]]) / 8
  near(gradient, np.float32(expected))


@pytest.mark.parametrize("name", ["ppo_clip, dual", "cispo", "ce_gppo", "gspo"])
def test_scaling_a_loss_is_the_same_as_shaping_its_advantages(
  name, random_tokens
):
  tokens = random_tokens(22, 5, 7)
  shaped = tokens.advantages + jnp.minimum(
    0.4 * tokens.entropy, jnp.abs(tokens.advantages) / 2
  )
  near(
    evaluated(chain(OBJECTIVES[name], entropy_advantage()), tokens)[1],
    evaluated(OBJECTIVES[name], dataclasses.replace(tokens, advantages=shaped))[
      1
    ],
  )


def test_entropy_advantage_is_bounded_and_leaves_0_alone():
  tokens = hand_tokens(
    np.zeros((1, 4)), [[1, -1, 0, 1e-30]], entropy=np.full((1, 4), 1e3)
  )
  _, (gradient, _) = evaluated(chain(ppo_clip(), entropy_advantage()), tokens)
  near(gradient, np.float32([[-1.5, 0.5, 0, 0]]) / 4)


# -- clip_cov and kl_cov -----------------------------------------------------


@pytest.mark.parametrize("make", [clip_cov, kl_cov])
def test_a_fraction_that_looks_like_a_percentage_is_warned_about(make):
  with pytest.warns(UserWarning, match=r"fraction = 0\.2 .* percent"):
    make(fraction=0.2)


def test_the_covariance_sums_to_the_population_s(random_tokens):
  tokens = random_tokens(12, 5, 7)
  covariance = token_covariance(
    tokens.log_probs, tokens.advantages, tokens.mask
  )
  valid = np.asarray(tokens.mask) > 0
  log_probs = np.asarray(tokens.log_probs)[valid]
  advantages = np.asarray(tokens.advantages)[valid]
  # np.cov with ddof 0 is the mean of the products
  near(
    covariance.sum(), valid.sum() * np.cov(log_probs, advantages, ddof=0)[0, 1]
  )
  moved = token_covariance(
    tokens.log_probs + 3, tokens.advantages - 2, tokens.mask
  )
  near(moved, covariance)


def test_the_covariance_is_a_constant(random_tokens):
  tokens = random_tokens(12, 5, 7)
  gradient = jax.grad(
    lambda x: token_covariance(x, tokens.advantages, tokens.mask).sum()
  )(tokens.log_probs)
  same(gradient, jnp.zeros((5, 7)))


def test_clip_cov_drops_as_many_of_the_candidates_as_asked():
  log_probs = np.linspace(-3.0, -0.1, 40).reshape(4, 10)
  advantages = np.repeat([[-1.0], [-1.0], [1.0], [1.0]], 10, axis=1)
  tokens = hand_tokens(log_probs + 1, advantages)
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  objective = few_tokens(clip_cov, fraction=0.125, cov_low=0.5)
  covariance = token_covariance(
    tokens.log_probs, tokens.advantages, tokens.mask
  )
  drawn = []
  for seed in range(3):
    gradient = jax.grad(
      lambda log_probs, key: policy_loss(
        objective,
        aggregation.token_mean,
        dataclasses.replace(tokens, log_probs=log_probs),
        key=key,
      )[0]
    )(tokens.log_probs, jax.random.key(seed))
    dropped = np.asarray(gradient) == 0
    assert dropped.sum() == 5  # 0.125 * 40
    assert np.all(np.asarray(covariance)[dropped] > 0.5)
    same(gradient[~dropped], -tokens.advantages[~dropped] / 40)
    drawn.append(tuple(np.flatnonzero(dropped)))
  assert len(set(drawn)) == 3


def test_clip_cov_drops_only_tokens_between_its_bounds(random_tokens):
  tokens = random_tokens(23, 5, 7)
  covariance = token_covariance(
    tokens.log_probs, tokens.advantages, tokens.mask
  )
  _, (gradient, _) = evaluated(drop_all(cov_low=0.05, cov_high=0.4), tokens)
  _, (base, _) = evaluated(ppo_clip(clip_low=1.0, clip_high=1.0), tokens)
  between = (covariance > 0.05) & (covariance < 0.4) & (base != 0)
  assert 0 < between.sum() < ((covariance > 0.05) & (base != 0)).sum()
  same(gradient, jnp.where(between, 0.0, base))


def test_tokens_that_ppo_clips_are_no_candidates_of_clip_cov():
  # covariances (1 - 0)(2 - 0) and (-1 - 0)(-2 - 0); the first one is clipped
  tokens = hand_tokens([[2.0], [0.0]], [[2.0], [-2.0]])
  tokens = dataclasses.replace(
    tokens, old_log_probs=jnp.array([[-1.0], [-1.0]])
  )
  (loss, metrics), (gradient, _) = evaluated(drop_all(), tokens)
  assert metrics["actor/pg_clipfrac"].total == 1
  assert metrics["clip_cov/candidates"].total == 1
  same(gradient, jnp.zeros((2, 1)))
  same(loss, -2.0 * 2 / 2)


@pytest.mark.parametrize("kl_form", ["abs", "k2", "k3"])
def test_kl_cov_is_the_plain_policy_gradient_on_the_sampling_policy(
  kl_form, random_tokens
):
  tokens = random_tokens(13, 5, 7)
  tokens = dataclasses.replace(tokens, old_log_probs=tokens.log_probs)
  (loss, _), gradients = evaluated(pull_some(kl_form=kl_form), tokens)
  (base_loss, _), base_gradients = evaluated(unclipped, tokens)
  same((loss, gradients), (base_loss, base_gradients))


def test_kl_cov_pulls_the_tokens_of_highest_covariance_back(random_tokens):
  tokens = random_tokens(14, 5, 7)
  _, (gradient, _) = evaluated(pull_some(kl_coef=0.5), tokens)
  _, (base, _) = evaluated(unclipped, tokens)
  num_tokens = int(tokens.mask.sum())
  covariance = np.asarray(
    token_covariance(tokens.log_probs, tokens.advantages, tokens.mask)
  )
  covariance = np.where(tokens.mask, covariance, -np.inf).ravel()
  pulled = np.argsort(-covariance)[: int(0.2 * num_tokens)]
  expected = np.zeros(35)
  direction = np.sign(tokens.log_probs - tokens.old_log_probs).ravel()
  expected[pulled] = 0.5 * direction[pulled] / num_tokens
  near(gradient - base, np.float32(expected.reshape(5, 7)))


@pytest.mark.parametrize(("fraction", "count", "k"), SHARES)
def test_a_share_of_tokens_is_counted_past_float32_s_rounding(
  fraction, count, k
):
  count = jnp.float32(count)
  assert (floor_share(fraction, count), ceil_share(fraction, count)) == k


# -- top_entropy --------------------------------------------------------------


@pytest.mark.parametrize(
  ("which", "kept"), [("high", [1, 3, 4]), ("low", [0, 2, 5])]
)
def test_top_entropy_learns_from_exactly_the_share_of_tokens(which, kept):
  tokens = hand_tokens(
    np.zeros((1, 6)), np.ones((1, 6)), entropy=np.float32([[0, 3, 1, 9, 2, 1]])
  )
  # ceil(0.41 * 6) = 3
  objective = chain(ppo_clip(), top_entropy(fraction=0.41, which=which))
  _, (gradient, _) = evaluated(objective, tokens)
  expected = np.zeros(6)
  expected[kept] = -1 / 3
  near(gradient, np.float32([expected]))


def test_top_entropy_breaks_ties_and_the_quantile_keeps_them():
  tokens = hand_tokens(np.zeros((2, 5)), np.ones((2, 5)))
  for select, count in (("top", 2), ("quantile", 10)):
    _, metrics = evaluated(
      chain(ppo_clip(), top_entropy(select=select)), tokens
    )[0]
    assert metrics["top_entropy/touched"].total == count


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.8, 1.0])
def test_the_quantile_is_numpy_s(fraction, seed, random_tokens):
  tokens = random_tokens(seed, 5, 7)
  valid = np.asarray(tokens.entropy)[np.asarray(tokens.mask) > 0]
  # numpy interpolates in float64; 1e-6 is below any gap of 20 draws
  threshold = np.quantile(np.float64(valid), 1 - fraction) - 1e-6
  selected = above_quantile(tokens.entropy, tokens.mask, fraction)
  same(selected, np.float32(tokens.entropy >= threshold) * tokens.mask)


def test_norm_all_is_smaller_by_the_share_of_tokens(random_tokens):
  tokens = random_tokens(15, 5, 7)
  (loss, metrics), _ = evaluated(OBJECTIVES["top_entropy"], tokens)
  (small, _), _ = evaluated(
    chain(ppo_clip(), top_entropy(fraction=0.4, norm="all")), tokens
  )
  touched = metrics["top_entropy/touched"]
  near(small, loss * touched.total / touched.count)


# -- steer --------------------------------------------------------------------


@pytest.mark.parametrize("form", ["theorem", "released"])
def test_steer_weighs_the_gradient_of_its_base_between_its_bounds(
  form, random_tokens
):
  tokens = random_tokens(16, 5, 7)
  _, (base, _) = evaluated(reinforce(), tokens)
  _, (gradient, entropy_gradient) = evaluated(
    chain(reinforce(), steer(min_weight=0.5, form=form)), tokens
  )
  weights = np.asarray(gradient / base)[np.asarray(tokens.mask) > 0]
  near(weights.min(), 0.5)
  assert np.all(weights >= 0.5 - 1e-6)
  assert np.all(weights <= 1 + 1e-6)
  same(entropy_gradient, jnp.zeros((5, 7)))


@pytest.mark.parametrize("form", ["theorem", "released"])
def test_steer_does_not_see_the_scale_of_advantages(form, random_tokens):
  tokens = random_tokens(17, 5, 7)
  doubled = dataclasses.replace(tokens, advantages=2 * tokens.advantages)
  objective = chain(reinforce(), steer(form=form))
  near(
    evaluated(objective, doubled)[1][0], 2 * evaluated(objective, tokens)[1][0]
  )


def test_steer_s_floor_leaves_small_changes_undamped(random_tokens):
  tokens = random_tokens(18, 5, 7)
  (_, metrics), _ = evaluated(
    chain(ppo_clip(), steer(min_weight=0.5, floor=1e9)), tokens
  )
  near(metrics["steer/weight"].total, metrics["steer/weight"].count)


# -- reference_kl and entropy_bonus -------------------------------------------


@pytest.mark.parametrize("estimator", [k1, k2, k3])
def test_a_kl_estimator_is_0_at_the_reference(estimator):
  assert estimator(jnp.float32(0)) == 0


def test_k2_and_k3_are_never_negative():
  x = jnp.linspace(-30, 30, 601)
  assert jnp.all(k2(x) >= 0)
  assert jnp.all(k3(x) >= 0)


@pytest.mark.parametrize("x", [-1000.0, -30.0, 15.0])
def test_k3_is_bounded_by_10_and_stops_learning_there(x):
  # alone, exp(-x) + x - 1 would be infinite, 1e13 and 14
  value, gradient = jax.value_and_grad(k3)(jnp.float32(x))
  assert value == 10
  assert gradient == 0


def test_k3_is_unbiased_for_the_kl_of_two_distributions():
  policy = np.array([0.5, 0.3, 0.2])
  reference = np.array([0.25, 0.25, 0.5])
  x = np.log(policy / reference)
  expected = np.sum(policy * x)
  # 3 float32 terms below 1
  np.testing.assert_allclose(
    np.sum(policy * np.asarray(k3(jnp.asarray(x)))), expected, atol=1e-6
  )


def test_reference_kl_without_a_reference_is_refused(random_tokens):
  tokens = dataclasses.replace(random_tokens(0, 5, 7), ref_log_probs=None)
  with pytest.raises(ValueError, match="needs ref_log_probs"):
    evaluated(OBJECTIVES["reference_kl, k3"], tokens)


def test_the_entropy_bonus_pushes_the_entropy_of_every_token_alike():
  tokens = hand_tokens(np.zeros((2, 4)), np.ones((2, 4)))
  (loss, _), (_, gradient) = evaluated(entropy_bonus(entropy_coef=0.5), tokens)
  near(loss, -0.5)
  near(gradient, np.full((2, 4), -0.5 / 8))
