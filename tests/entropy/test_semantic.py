"""Semantic entropy and its factor agree with constants and a float64 twin.

The constants come from the specification. They were worked out independently of
this code, and are rounded to the digits given here.
"""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.entropy.semantic import (
  ESTIMATORS,
  FORMS,
  modulation,
  semantic_entropy,
)
from tests.helpers.paths import GOLDENS

NORMALISED = ("rao", "count", "mc")

METHODS = json.loads((GOLDENS / "methods.json").read_text())
GOLDEN = METHODS["semantic_entropy"]
SIZES = GOLDEN["sizes"]  # sizes of the clusters, in groups of 8
ENTROPY, MC, SHARE = (GOLDEN[name] for name in ("entropy", "mc", "share"))
FACTORS = {
  (golden["form"], golden["alpha"]): golden["values"]
  for golden in GOLDEN["factors"]
}
CLUSTERS = np.array([np.repeat(range(len(n)), n) for n in SIZES])
FIVE_DIGITS = 6e-6  # half a unit of the fifth, and float32's rounding
SIX_DIGITS = 2e-6  # half a unit of the sixth, and float32's rounding

# the worked example: four answers, the first two alike
ELL = np.array([GOLDEN["mean_log_probs"]], np.float32)
ALIKE = np.array([GOLDEN["clusters"]])


@functools.cache
def compiled(estimator):
  return jax.jit(functools.partial(semantic_entropy, estimator=estimator))


def estimate(estimator, clusters, log_probs):
  """Estimate entropies [Q] in float32 with the compiled function."""
  clusters, log_probs = jnp.asarray(clusters), jnp.asarray(log_probs)
  result = compiled(estimator)(clusters, log_probs)
  assert result.dtype == jnp.float32
  return np.asarray(result, np.float64)


def random_groups(seed, num_groups=6, group_size=8, drop=0.2):
  """Draw clusters, some of them -1, and log_probs, NaN where they are."""
  rng = np.random.default_rng(seed)
  shape = (num_groups, group_size)
  clusters = rng.integers(0, 5, shape)
  clusters[rng.random(shape) < drop] = -1
  log_probs = np.float32(-rng.exponential(1.0, shape))
  return clusters, np.where(clusters < 0, np.nan, log_probs)


def masses(clusters, scores):
  """Return cluster -> its sum of exp(score), in float64, one by one."""
  result = {}
  for c, score in zip(clusters, scores, strict=True):
    if c >= 0:
      result[int(c)] = result.get(int(c), 0.0) + math.exp(score)
  return result


def twin(estimator, clusters, log_probs):
  """Return the entropy of one group, cluster by cluster, in float64."""
  if estimator == "count":
    log_probs = [0.0] * len(clusters)
  result = masses(clusters, log_probs)
  total = 1.0 if estimator == "mc_unnormalised" else sum(result.values())
  if not result:
    return 0.0
  p = [mass / total for mass in result.values()]
  if estimator in ("rao", "count"):
    return -sum(x * math.log(x) for x in p)
  return -sum(math.log(x) for x in p) / len(p)


# -- constants ----------------------------------------------------------------


@pytest.mark.parametrize(
  ("estimator", "expected"), [("count", ENTROPY), ("rao", ENTROPY), ("mc", MC)]
)
def test_cluster_sizes_have_their_entropies(estimator, expected):
  alike = np.zeros(CLUSTERS.shape, np.float32)
  result = estimate(estimator, CLUSTERS, alike)
  np.testing.assert_allclose(result, expected, rtol=0, atol=FIVE_DIGITS)


@pytest.mark.parametrize(("form", "alpha"), FACTORS)
def test_cluster_sizes_have_their_factors(form, alpha):
  entropy = semantic_entropy(jnp.asarray(CLUSTERS), estimator="count")
  result = modulation(entropy, 8, form=form, alpha=alpha)
  expected = FACTORS[form, alpha]
  np.testing.assert_allclose(result, expected, rtol=0, atol=FIVE_DIGITS)


def test_cluster_sizes_have_their_shares_of_log_g():
  entropy = semantic_entropy(jnp.asarray(CLUSTERS), estimator="count")
  result = 1 - modulation(entropy, 8, form="linear", alpha=1.0)
  np.testing.assert_allclose(result, SHARE, rtol=0, atol=FIVE_DIGITS)


@pytest.mark.parametrize(
  ("estimator", "expected"),
  [
    ("rao", GOLDEN["rao"]),
    ("mc", GOLDEN["mc_of_masses"]),
    ("count", GOLDEN["count"]),
  ],
)
def test_the_worked_example_has_its_entropies(estimator, expected):
  result = estimate(estimator, ALIKE, ELL)
  np.testing.assert_allclose(result, expected, rtol=0, atol=SIX_DIGITS)


def test_the_twin_has_the_masses_of_the_worked_example():
  result = np.array(list(masses(ALIKE[0], ELL[0]).values()))
  np.testing.assert_allclose(result, [1.55955, 0.60653, 0.36788], atol=5e-6)
  np.testing.assert_allclose(
    result / result.sum(), GOLDEN["masses"], atol=SIX_DIGITS
  )


def test_the_literal_mc_falls_below_log_k_where_the_normalised_one_cannot():
  result = estimate("mc_unnormalised", ALIKE, ELL)
  np.testing.assert_allclose(
    result, GOLDEN["mc_unnormalised"], rtol=0, atol=FIVE_DIGITS
  )
  assert result < math.log(3) < estimate("mc", ALIKE, ELL)


def test_the_literal_mc_is_negative_where_likelihoods_sum_to_more_than_1():
  # one cluster: -log(2 exp(-0.1))
  result = estimate("mc_unnormalised", [[0, 0]], np.float32([[-0.1, -0.1]]))
  np.testing.assert_allclose(result, 0.1 - math.log(2), rtol=1e-6)


# -- estimators ---------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_an_estimator_is_its_formula_written_out(estimator):
  clusters, log_probs = random_groups(0)
  clusters[1], clusters[2] = -1, 3  # none counts | one cluster
  log_probs[2] = ELL[0, [0, 1, 2, 3, 3, 2, 1, 0]]
  result = estimate(estimator, clusters, log_probs)
  expected = [
    twin(estimator, *row) for row in zip(clusters, log_probs, strict=True)
  ]
  # float32 numbers below 3, through an exponential and a logarithm
  np.testing.assert_allclose(result, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("estimator", NORMALISED)
def test_one_cluster_has_an_entropy_of_exactly_0(estimator):
  # among 500 groups some would have a residue of rounding
  _, log_probs = random_groups(0, num_groups=500, drop=0.0)
  assert not estimate(estimator, np.full(log_probs.shape, 7), log_probs).any()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_group_of_which_nothing_counts_has_an_entropy_of_exactly_0(estimator):
  nothing = np.full((2, 8), np.nan, np.float32)
  result = estimate(estimator, np.full((2, 8), -1), nothing)
  assert not result.any()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_response_that_does_not_count_might_as_well_not_be_there(estimator):
  clusters, log_probs = random_groups(1, drop=0.0)
  wider = np.full((6, 3), -1), np.float32([[np.nan, np.inf, -1e30]] * 6)
  result = estimate(
    estimator,
    np.concatenate([wider[0], clusters], axis=1),
    np.concatenate([wider[1], log_probs], axis=1),
  )
  # the same sums; a wider array may add them in another order
  expected = estimate(estimator, clusters, log_probs)
  np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_order_of_responses_does_not_matter(estimator):
  clusters, log_probs = random_groups(2)
  order = np.random.default_rng(0).permutation(8)
  # the same numbers, added in another order
  np.testing.assert_allclose(
    estimate(estimator, clusters[:, order], log_probs[:, order]),
    estimate(estimator, clusters, log_probs),
    rtol=0,
    atol=1e-6,
  )


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_names_of_clusters_do_not_matter(estimator):
  clusters, log_probs = random_groups(3)
  renamed = np.where(clusters < 0, -7, np.array([90, 4, 0, 11, 2])[clusters])
  np.testing.assert_array_equal(
    estimate(estimator, renamed, log_probs),
    estimate(estimator, clusters, log_probs),
  )


@pytest.mark.parametrize("estimator", ["rao", "count"])
def test_splitting_a_cluster_never_lowers_the_entropy(estimator):
  clusters, log_probs = random_groups(4, drop=0.1)
  before = estimate(estimator, clusters, log_probs)
  for i in range(8):  # response i leaves its cluster
    split = clusters.copy()
    split[:, i] = np.where(split[:, i] < 0, -1, 99)
    # float32's rounding of numbers below 3
    assert (estimate(estimator, split, log_probs) >= before - 1e-6).all()


def test_mc_lies_at_or_above_log_k_and_that_above_the_entropy():
  clusters, log_probs = random_groups(5)
  log_k = np.log([len(set(row) - {-1}) for row in clusters.tolist()])
  # float32's rounding of numbers below 4
  assert (estimate("mc", clusters, log_probs) >= log_k - 1e-6).all()
  assert (estimate("rao", clusters, log_probs) <= log_k + 1e-6).all()


def test_mc_of_count_masses_lies_at_or_below_log_g():
  clusters, _ = random_groups(6, num_groups=60, drop=0.0)
  result = estimate("mc", clusters, np.zeros(clusters.shape, np.float32))
  assert (result <= math.log(8) + 1e-6).all()  # float32's rounding


def test_mc_of_likelihoods_may_exceed_log_g_and_its_factor_stays_in_bounds():
  log_probs = np.float32([[-0.1, -0.1, -0.1, -90.0]])
  result = estimate("mc", ALIKE, log_probs)
  assert result > 20 * math.log(4)
  factor = modulation(jnp.float32(result), 4, form="linear", alpha=0.5)
  np.testing.assert_array_equal(factor, [0.5])


def test_sums_of_thousands_of_nats_do_not_underflow():
  clusters, log_probs = random_groups(7, drop=0.0)
  # a power of two: these sums are exact to 2^-13 in float32
  shifted = log_probs - 2048
  for estimator in ("rao", "mc"):
    np.testing.assert_allclose(
      estimate(estimator, clusters, shifted),
      estimate(estimator, clusters, log_probs),
      rtol=0,
      atol=1e-3,
    )


def test_an_impossible_response_weighs_nothing():
  log_probs = ELL.copy()
  log_probs[0, 2] = -np.inf
  np.testing.assert_allclose(
    estimate("rao", ALIKE, log_probs),
    estimate("rao", [[0, 0, -1, 2]], log_probs),
    rtol=1e-6,  # float32's rounding
  )
  assert np.isfinite(estimate("mc", ALIKE, log_probs)).all()


def test_no_gradient_flows_back_to_the_log_probs():
  total = lambda log_probs: jnp.sum(semantic_entropy(ALIKE, log_probs))
  assert not np.asarray(jax.grad(total)(jnp.asarray(ELL))).any()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_trace_serves_all_groups(estimator):
  traces = 0

  @jax.jit
  def factor(clusters, log_probs):
    nonlocal traces
    traces += 1
    entropy = semantic_entropy(clusters, log_probs, estimator=estimator)
    return modulation(entropy, clusters.shape[1], alpha=1.0)

  for seed in range(3):
    factor(*random_groups(seed))
  assert traces == 1


def test_a_missing_score_or_an_unknown_estimator_is_refused():
  clusters = jnp.asarray(ALIKE)
  with pytest.raises(ValueError, match=r"estimator 'rao' needs log_probs"):
    semantic_entropy(clusters)
  with pytest.raises(ValueError, match=r"estimator must be one of.*got 'roa'"):
    semantic_entropy(clusters, jnp.asarray(ELL), estimator="roa")
  with pytest.raises(AssertionError, match="shape"):
    semantic_entropy(clusters, jnp.asarray(ELL.T))


# -- modulation ---------------------------------------------------------------

every_form = pytest.mark.parametrize("form", FORMS)
ALPHAS = (0.0417, 0.5, 1.0)


@every_form
@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_factor_is_1_at_0_and_falls_within_bounds(form, alpha):
  entropy = jnp.linspace(0.0, 1.0, 33) * math.log(8)
  result = np.asarray(modulation(entropy, 8, form=form, alpha=alpha))
  assert result[0] == 1
  assert (np.diff(result) < 0).all()
  lowest = {
    "inverse": 1 / (1 + alpha),
    "linear": 1 - alpha,
    "exp": math.exp(-alpha),
    "focal": 0.0,
  }[form]
  # one float32 expression; a focal factor ends at exactly 0
  np.testing.assert_allclose(result[-1], lowest, rtol=2e-7)


@every_form
def test_the_entropy_counts_up_to_log_g_and_from_0(form):
  entropy = jnp.asarray([-5.0, 0.0, math.log(8) + 1e-3, 1e30, np.inf])
  result = np.asarray(modulation(entropy, 8, form=form, alpha=0.5))
  assert (result[:2] == 1).all()
  assert (result[2:] == result[2]).all()
  assert result[2] < 1


def test_a_linear_factor_of_a_large_alpha_stops_at_0():
  entropy = jnp.asarray([0.25, 0.75]) * math.log(8)
  result = modulation(entropy, 8, form="linear", alpha=2.0)
  np.testing.assert_allclose(
    result, [0.5, 0.0], atol=1e-6
  )  # float32's rounding


def test_no_gradient_flows_back_to_the_entropy():
  total = lambda entropy: jnp.sum(modulation(entropy, 8, alpha=1.0))
  assert not np.asarray(jax.grad(total)(jnp.asarray([0.3, 1.0]))).any()


def test_a_rounded_log_g_is_log_g_to_a_focal_factor():
  # without that, 4e-7 ** 0.0417 is 0.54
  entropy = jnp.asarray([math.log(8) * (1 - 4e-7)])
  result = modulation(entropy, 8, form="focal", alpha=0.0417)
  np.testing.assert_array_equal(result, [0.0])


@every_form
def test_an_alpha_of_0_and_a_group_of_1_have_a_factor_of_exactly_1(form):
  entropy = jnp.asarray([0.0, 0.3, 2.0, 9.0])
  for group_size, alpha in ((8, 0.0), (1, 1.0), (0, 1.0)):
    result = modulation(entropy, group_size, form=form, alpha=alpha)
    np.testing.assert_array_equal(result, np.ones(4, np.float32))


def test_each_group_may_be_measured_by_its_own_size():
  entropy = jnp.asarray([math.log(2), math.log(2), math.log(2)])
  sizes = jnp.asarray([1, 2, 4])
  result = modulation(entropy, sizes, form="linear", alpha=0.5)
  # s = 1 of two, 1/2 of four
  np.testing.assert_allclose(result, [1.0, 0.5, 0.75], rtol=1e-6)


@every_form
def test_the_factor_keeps_signs_and_the_sum_of_0(form):
  rng = np.random.default_rng(0)
  rewards = rng.integers(0, 2, CLUSTERS.shape).astype(np.float32)
  advantages = rewards - rewards.mean(axis=1, keepdims=True)
  entropy = semantic_entropy(jnp.asarray(CLUSTERS), estimator="count")
  factor = np.asarray(modulation(entropy, 8, form=form, alpha=0.5))
  result = advantages * factor[:, None]
  # the factor of eight different answers may be 0
  np.testing.assert_array_equal(
    np.sign(result), np.sign(advantages) * (factor > 0)[:, None]
  )
  np.testing.assert_allclose(result.sum(axis=1), 0, atol=1e-6)


@pytest.mark.parametrize("alpha", [-0.1, math.nan, math.inf])
def test_an_alpha_that_is_no_strength_is_refused(alpha):
  with pytest.raises(
    ValueError,
    match=r"modulation\.alpha must (lie in \[0, inf\)|be finite), got",
  ):
    modulation(jnp.zeros(3), 8, alpha=alpha)


def test_an_unknown_form_is_refused():
  with pytest.raises(ValueError, match=r"modulation\.form.*got 'cubic'"):
    modulation(jnp.zeros(3), 8, form="cubic")


def test_every_form_has_its_row_of_constants():
  assert {form for form, _ in FACTORS} == set(FORMS)
