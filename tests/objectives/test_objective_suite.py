"""Test what holds for every objective of tests/helpers/objective_cases.py."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from entrojax import objectives
from entrojax.assembly import lookup
from entrojax.objectives import (
  adaptive_stare,
  aggregation,
  bcpg,
  ce_gppo,
  chain,
  cispo,
  clip_cov,
  dppo,
  dynamic_clip,
  entropic,
  entropy_advantage,
  entropy_bonus,
  erc,
  gmpo,
  gspo,
  kl_cov,
  luspo,
  negative_sample_augmentation,
  off_policy_mask,
  oscillating_clip,
  policy_loss,
  ppo_clip,
  reference_kl,
  sapo,
  sent,
  sent_released,
  siren,
  stare,
  steer,
  top_entropy,
  vespo,
)
from entrojax.system.sharding import by_row, make_mesh
from entrojax.traits import traits_of
from entrojax.types import TokenLoss
from tests.helpers.objective_cases import (
  COEFFICIENT,
  DRAWN,
  EQUALS,
  INTEGRABLE,
  OBJECTIVES,
  ZERO_STRENGTH,
  evaluate,
  evaluate_all,
  has_penalty,
  learned_of,
  map_fields,
  near,
  same,
  widen,
  with_learned,
)

every_objective = pytest.mark.parametrize("name", OBJECTIVES)
FUNCTIONS = lookup.functions(objectives, "Objective")
GARBAGE = (0.0, jnp.nan, jnp.inf, -jnp.inf, 1e30, -1e30)


@pytest.fixture(scope="module")
def evaluated(random_tokens):
  """Return evaluated(name) -> `evaluate` on tokens whose padding is garbage."""
  tokens = random_tokens(2, 5, 7)
  return functools.cache(lambda name: evaluate(OBJECTIVES[name], tokens))


@pytest.fixture(scope="module")
def all_evaluated(random_tokens):
  """Return all_evaluated(name) -> `evaluate_all` on the tokens of seed 3."""
  tokens = random_tokens(3, 5, 7)
  return functools.cache(lambda name: evaluate_all(OBJECTIVES[name], tokens))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_objective_is_tested(name):
  assert name in {row.partition(",")[0] for row in OBJECTIVES}, (
    f"no test knows the objective {name}: add a row {name!r} to OBJECTIVES in "
    "tests/helpers/objective_cases.py"
  )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_objective_declares_its_kind(name):
  assert traits_of(FUNCTIONS[name]) is not None, (
    f"put @ObjectiveTraits(kind=...) of entrojax/traits.py above {name}"
  )


@every_objective
def test_a_member_is_of_the_kind_that_it_declares(name, random_tokens):
  if name not in FUNCTIONS:
    return  # another row of a function that has been tested, or a chain
  traits, tokens = traits_of(FUNCTIONS[name]), random_tokens(0, 5, 7)
  before = TokenLoss(terms=(), metrics={})
  coefficient = COEFFICIENT if traits.driven else None
  key = jax.random.key(0)
  done = OBJECTIVES[name](tokens, before, coefficient, key)
  added = len(done.terms) - (traits.kind != "surrogate")
  assert added == (traits.kind in ("surrogate", "term")), (
    f"{name} declares kind={traits.kind!r}, but adds {added} terms to the "
    "loss: a surrogate or a term adds one, a transform or a penalty none"
  )
  if traits.kind == "penalty":
    assert len(done.penalties) == 1, (
      f"{name} declares kind='penalty', but adds {len(done.penalties)} "
      "penalties: return add_penalty(...) of chain.py"
    )


@pytest.mark.parametrize("base", ["reinforce", "ppo_clip, dual"])
@pytest.mark.parametrize("name", ZERO_STRENGTH)
def test_at_zero_strength_a_term_is_not_there_bitwise(
  name, base, random_tokens, evaluated
):
  term, coefficient = ZERO_STRENGTH[name]
  (loss, _), gradients = evaluate(
    chain(OBJECTIVES[base], term),
    random_tokens(2, 5, 7),
    coefficient=coefficient,
  )
  (base_loss, _), base_gradients = evaluated(base)
  # statistics that the term reads, and the base does not, have no gradient
  zeros = map(jnp.zeros_like, gradients[len(base_gradients) :])
  same((loss, gradients), (base_loss, (*base_gradients, *zeros)))


@pytest.mark.parametrize("name", EQUALS)
def test_a_method_with_nothing_to_do_equals_its_base_bitwise(
  name, random_tokens
):
  method, base = EQUALS[name]
  tokens = random_tokens(0, 5, 7)
  (loss, _), gradients = evaluate(method, tokens)
  (base_loss, _), base_gradients = evaluate(base, tokens)
  zeros = map(jnp.zeros_like, gradients[len(base_gradients) :])
  same((loss, gradients), (base_loss, (*base_gradients, *zeros)))


@pytest.fixture(scope="module")
def padded(random_tokens):
  """Return padded(name) -> `evaluate` with each padding, then without a token.

  One graph computes all of them: every array has a first axis of
  len(GARBAGE) + 1.
  """
  tokens = random_tokens(1, 5, 7)

  def filled(content, counted):
    fields = map_fields(
      lambda x: jnp.where(widen(tokens.mask, x) > 0, x, content), tokens
    )
    return dataclasses.replace(fields, mask=tokens.mask * counted)

  contents = jnp.array([*GARBAGE, 0.0])
  counted = jnp.array([1.0] * len(GARBAGE) + [0.0])
  return functools.cache(
    lambda name: jax.device_get(
      jax.vmap(lambda *case: evaluate(OBJECTIVES[name], filled(*case)))(
        contents, counted
      )
    )
  )


@every_objective
def test_the_content_of_padding_changes_nothing(name, padded):
  result = lambda i: jax.tree.map(lambda x: x[i], padded(name))
  for i, content in enumerate(GARBAGE):
    same(result(i), result(0), f"padding {content}")


@every_objective
def test_without_a_token_loss_and_gradients_are_0(name, padded):
  (loss, _), gradients = padded(name)
  last = jax.tree.map(lambda x: x[-1], (loss, gradients))
  same(last, jax.tree.map(np.zeros_like, last))


@every_objective
def test_loss_gradients_and_metrics_are_finite_beside_garbage(name, evaluated):
  (loss, metrics), gradients = jax.device_get(evaluated(name))
  numbers = {"its loss": loss, **metrics, "its gradients": gradients}
  wrong = [
    what
    for what, values in numbers.items()
    if not all(np.all(np.isfinite(x)) for x in jax.tree.leaves(values))
  ]
  assert not wrong, (
    f"{name}: {', '.join(wrong)} not finite, although padding alone holds "
    "numbers that are not: guard the unused branch of jnp.where, and reduce "
    "with masking.py"
  )


@every_objective
def test_padding_has_no_gradient(name, random_tokens, evaluated):
  padding = 1 - np.asarray(random_tokens(2, 5, 7).mask)
  _, gradients = evaluated(name)
  for gradient in gradients:
    outside = widen(padding, gradient)
    same(gradient * outside, np.zeros_like(gradient))


@pytest.mark.slow
@every_objective
def test_empty_rows_and_padded_columns_change_nothing(
  name, random_tokens, all_evaluated
):
  tokens = random_tokens(3, 5, 7)
  larger = map_fields(
    lambda x: jnp.pad(
      x, ((0, 3), (0, 4), (0, 0))[: x.ndim], constant_values=jnp.nan
    ),
    tokens,
  )
  larger = dataclasses.replace(larger, mask=jnp.nan_to_num(larger.mask))
  (losses, metrics), gradients = evaluate_all(OBJECTIVES[name], larger)
  gradients = jax.tree.map(lambda g: g[:, :5, :7], gradients)
  near(((losses, metrics), gradients), all_evaluated(name))


@pytest.mark.slow
@every_objective
def test_rows_permute(name, random_tokens, all_evaluated):
  tokens, order = random_tokens(3, 5, 7), jnp.array([3, 0, 4, 1, 2])
  values, gradients = all_evaluated(name)
  gradients = jax.tree.map(lambda g: g[:, order], gradients)
  permuted = map_fields(lambda x: x[order], tokens)
  near(evaluate_all(OBJECTIVES[name], permuted), (values, gradients))


@pytest.fixture(scope="module")
def on_eight_devices(random_tokens):
  """Evaluate all objectives on rows over eight devices, in one graph."""
  compute = jax.jit(
    lambda tokens: {name: evaluate(o, tokens) for name, o in DRAWN.items()}
  )
  rows = by_row(make_mesh((8, 1, 1)))
  return jax.device_get(compute(jax.device_put(random_tokens(4, 8, 7), rows)))


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_rows_on_eight_devices_give_the_same_numbers(
  name, on_eight_devices, random_tokens
):
  expected = evaluate(DRAWN[name], random_tokens(4, 8, 7))
  near(on_eight_devices[name], jax.device_get(expected))


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
    # raises where a trace would need a value; nothing is compiled
    loss.trace(random_tokens(seed, 5, 7), seed / 2 - 1, jax.random.key(seed))
  assert traces == 1, (
    f"{name} is traced {traces} times for tokens of one shape: let it return "
    "the same structure every time"
  )


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", INTEGRABLE)
def test_analytic_gradients_are_numerical_gradients(name, random_tokens):
  tokens = random_tokens(5, 4, 5, np.float64)

  def loss(*learned):
    return policy_loss(
      OBJECTIVES[name],
      aggregation.token_mean,
      with_learned(tokens, OBJECTIVES[name], learned),
      coefficient=COEFFICIENT,
    )[0]

  # A central difference of step 1e-5 errs by 1e-10 twice: by its square and by
  # float64's rounding over it.
  check_grads(
    loss,
    learned_of(tokens, OBJECTIVES[name]),
    order=1,
    modes=["rev"],
    eps=1e-5,
    atol=1e-8,
    rtol=1e-8,
  )


@every_objective
def test_float32_tokens_give_float32_numbers(name, evaluated):
  dtypes = {str(x.dtype) for x in jax.tree.leaves(evaluated(name))}
  assert dtypes == {"float32"}, (
    f"{name} returns {', '.join(sorted(dtypes))} from float32: cast whatever "
    "it computes, masks of bool too, to the type of the mask"
  )


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@every_objective
def test_float64_tokens_give_a_float64_loss(name, random_tokens):
  (loss, _), gradients = evaluate(
    OBJECTIVES[name], random_tokens(6, 5, 7, np.float64)
  )
  for x in (loss, *gradients):
    assert x.dtype == jnp.float64


@pytest.mark.slow
@every_objective
def test_an_empty_mask_has_no_loss_in_any_aggregation(name, random_tokens):
  tokens = random_tokens(7, 5, 7)
  empty = dataclasses.replace(tokens, mask=jnp.zeros_like(tokens.mask))
  (losses, _), gradients = evaluate_all(OBJECTIVES[name], empty)
  same((losses, gradients), jax.tree.map(jnp.zeros_like, (losses, gradients)))


@every_objective
def test_without_advantages_loss_and_gradients_are_exactly_0(
  name, random_tokens
):
  if has_penalty(OBJECTIVES[name]):
    return  # a penalty acts on every token
  tokens = random_tokens(8, 5, 7)
  tokens = dataclasses.replace(
    tokens, advantages=jnp.zeros_like(tokens.advantages)
  )
  (loss, _), gradients = evaluate(OBJECTIVES[name], tokens)
  same((loss, gradients), jax.tree.map(jnp.zeros_like, (loss, gradients)))


@every_objective
def test_nothing_but_the_current_policy_is_learned(name, random_tokens):
  gradients = jax.grad(
    lambda tokens: policy_loss(
      OBJECTIVES[name],
      aggregation.token_mean,
      tokens,
      coefficient=COEFFICIENT,
    )[0]
  )(random_tokens(9, 5, 7))
  for field in dataclasses.fields(gradients):
    if field.name not in ("log_probs", "entropy", "statistics"):
      gradient = getattr(gradients, field.name)
      same(gradient, jnp.zeros((5, 7)), field.name)


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
    (bcpg, {"tau": -0.1}, r"bcpg\.tau .* -0\.1"),
    (bcpg, {"tau": float("nan")}, r"bcpg\.tau .* nan"),
    (
      negative_sample_augmentation,
      {"beta": 1.5},
      r"beta must lie in \[-1, 1\], got 1\.5",
    ),
    (gspo, {"clip_low": 2.0}, r"gspo\.clip_low .* 2\.0"),
    (gspo, {"clip_high": -1.0}, r"gspo\.clip_high .* -1\.0"),
    (cispo, {"clip_low": 2.0}, r"cispo\.clip_low .* 2\.0"),
    (cispo, {"clip_high": -1.0}, r"cispo\.clip_high .* -1\.0"),
    (sapo, {"tau_positive": 0.0}, r"sapo\.tau_positive .* 0\.0"),
    (sapo, {"tau_negative": -1.0}, r"sapo\.tau_negative .* -1\.0"),
    (luspo, {"clip_low": 2.0}, r"luspo\.clip_low .* 2\.0"),
    (gmpo, {"clip_low": -1.0}, r"gmpo\.clip_low .* -1\.0"),
    (gmpo, {"clip_high": -1.0}, r"gmpo\.clip_high .* -1\.0"),
    (vespo, {"k_positive": -1.0}, r"vespo\.k_positive .* -1\.0"),
    (vespo, {"rate_negative": 0.0}, r"vespo\.rate_negative .* 0\.0"),
    (dppo, {"divergence": "js"}, r"divergence .*'tv', 'kl'.* 'js'"),
    (dppo, {"low": -0.1}, r"dppo\.low .* -0\.1"),
    (dppo, {"max_ratio": 0.5}, r"dppo\.max_ratio .* 0\.5"),
    (dynamic_clip, {"clip_low": 1.0}, r"dynamic_clip\.clip_low .* 1\.0"),
    (dynamic_clip, {"high_share": 1.5}, r"high_share .* 1\.5"),
    (dynamic_clip, {"low_ends": (1.0, 0.1)}, r"low_ends = \(1\.0, 0\.1\)"),
    (dynamic_clip, {"high_ends": (0.1, 0.4)}, r"high_ends .* \(0\.1, 0\.4\)"),
    (oscillating_clip, {"high_ends": (0.1, 0.4)}, r"oscillating_clip\.high"),
    (dynamic_clip, {"dual_clip": 1.3}, r"dual_clip .* 1\.4, got 1\.3"),
    (ce_gppo, {"clip_low": 2.0}, r"ce_gppo\.clip_low .* 2\.0"),
    (ce_gppo, {"beta_low": -1.0}, r"beta_low .* -1\.0"),
    (ce_gppo, {"dual_clip": 1.0}, r"dual_clip .* 1\.28, got 1\.0"),
    (off_policy_mask, {"threshold": -0.1}, r"threshold .* -0\.1"),
    (erc, {"low": 1.0}, r"erc\.low .* 1\.0"),
    (erc, {"high": 1.0}, r"erc\.high .* 1\.0"),
    (stare, {"target": -0.3}, r"stare\.target .* -0\.3"),
    (stare, {"fraction": 10}, r"stare\.fraction .* 10"),
    (stare, {"negative_weight": -1.0}, r"negative_weight .* -1\.0"),
    (adaptive_stare, {"target": -0.3}, r"adaptive_stare\.target .* -0\.3"),
    (adaptive_stare, {"fraction": 1.5}, r"adaptive_stare\.fraction .* 1\.5"),
    (
      adaptive_stare,
      {"negative_strength": 3},
      r"negative_strength must lie in \[0, 2\], got 3",
    ),
    (sent, {"low_fraction": 80}, r"sent\.low_fraction .* 80"),
    (sent, {"cov_fraction": -0.1}, r"sent\.cov_fraction .* -0\.1"),
    (sent, {"beta_low": -0.05}, r"sent\.beta_low .* -0\.05"),
    (sent, {"beta_high": float("nan")}, r"sent\.beta_high .* nan"),
    (sent_released, {"low_fraction": 2.0}, r"sent_released\.low_fraction"),
    (sent_released, {"beta_high": -1.0}, r"sent_released\.beta_high .* -1"),
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
    (siren, {"anchor": -0.1}, r"siren\.anchor .* -0\.1"),
    (siren, {"coef": -0.1}, r"siren\.coef .* -0\.1"),
    (siren, {"top_p": 1.0}, r"siren\.top_p .* 1\.0"),
    (siren, {"fraction": 0.0}, r"siren\.fraction .* 0\.0"),
    (entropy_bonus, {"entropy_coef": -0.01}, r"entropy_coef .* -0\.01"),
  ],
)
def test_a_setting_that_cannot_work_is_named_with_its_value(
  make, settings, message
):
  with pytest.raises(ValueError, match=message):
    make(**settings)
