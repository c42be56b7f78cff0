"""Compare every method's loss and gradient with golden vectors.

The vectors come from the specification and lie in tests/goldens/methods.json.
Losses have 8 decimals and gradients 6, so both are compared to 1e-6.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax import advantages
from entrojax.answers.pass_at_k import pass_at_k
from entrojax.control import PIState, entropic_pi, entropy_guided
from entrojax.entropy.covariance import token_covariance
from entrojax.objectives import (
  aggregation,
  ce_gppo,
  chain,
  cispo,
  clip_cov,
  entropic,
  entropy_advantage,
  erc,
  gspo,
  kl_cov,
  policy_loss,
  ppo_clip,
  reference_kl,
  reinforce,
  sent,
  steer,
  top_entropy,
)
from entrojax.objectives.entropy_advantage import advantage_ratio
from entrojax.objectives.reference_kl import k1, k2, k3
from entrojax.types import Responses, ScoredTokens, Term
from tests.helpers.paths import GOLDENS

METHODS = json.loads((GOLDENS / "methods.json").read_text())
LOSSES = METHODS["losses"]

pytestmark = pytest.mark.usefixtures("float64")


def golden_tokens(**changes) -> ScoredTokens:
  inputs = {k: np.array(v, np.float64) for k, v in METHODS["inputs"].items()}
  fields = {
    "log_probs": inputs["lp"],
    "old_log_probs": inputs["old"],
    "entropy": inputs["H"],
    "old_entropy": inputs["Hold"],
    "advantages": np.repeat(inputs["A"][:, None], 4, axis=1),
    "mask": np.float32(inputs["m"]),
    **changes,
  }
  return ScoredTokens(**{k: jnp.asarray(v) for k, v in fields.items()})


def loss_and_gradient(objective, aggregate=aggregation.token_mean, **settings):
  """Compute the loss on the golden vector and its gradient in log-probs."""

  def loss(log_probs):
    return policy_loss(
      objective, aggregate, golden_tokens(log_probs=log_probs), **settings
    )[0]

  value, gradient = jax.value_and_grad(loss)(golden_tokens().log_probs)
  assert value.dtype == gradient.dtype == jnp.float64
  return value, gradient


def expected_gradient(golden):
  gradient = np.array(METHODS["base_gradient"])
  if "gradient_entries" in golden:
    gradient = np.zeros_like(gradient)
  changes = golden.get("gradient_differences", golden.get("gradient_entries"))
  for row, token, value in changes:
    gradient[row, token] = value
  return gradient


def clip_of(golden):
  return ppo_clip(
    clip_low=golden["clip_low"],
    clip_high=golden["clip_high"],
    dual_clip=golden["dual_clip"],
  )


def close(actual, expected):
  np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES["dapo"]["values"])
def test_dapo_has_its_golden_loss_under_each_aggregation(name):
  golden = LOSSES["dapo"]
  value, _ = loss_and_gradient(
    clip_of(golden), aggregation.by_name(name, length=4)
  )
  close(value, golden["values"][name])


def test_dapo_has_its_golden_gradient():
  _, gradient = loss_and_gradient(clip_of(LOSSES["dapo"]))
  close(gradient, expected_gradient(LOSSES["dapo"]))


def test_a_wide_clip_range_has_its_golden_loss_and_gradient():
  golden = LOSSES["ppo_wide"]
  value, gradient = loss_and_gradient(clip_of(golden))
  close(value, golden["value"])
  close(gradient, expected_gradient(golden))


def test_the_covariance_of_a_token_has_its_golden_value():
  tokens = golden_tokens()
  actual = token_covariance(tokens.log_probs, tokens.advantages, tokens.mask)
  matrix = np.array(METHODS["covariance"]["matrix"], float)
  close(actual, np.nan_to_num(matrix))


@pytest.mark.filterwarnings("ignore:.*percent")
def test_clip_cov_has_its_golden_loss_and_gradient():
  golden = LOSSES["clip_cov"]
  objective = clip_cov(
    fraction=1.0,
    cov_low=golden["bounds"][0],
    cov_high=golden["bounds"][1],
    clip_low=golden["clip_low"],
    clip_high=golden["clip_high"],
  )
  value, gradient = loss_and_gradient(objective)
  close(value, golden["value"])
  close(gradient, expected_gradient(golden))


@pytest.mark.filterwarnings("ignore:.*percent")
def test_kl_cov_has_its_golden_loss_and_gradient():
  golden = LOSSES["kl_cov"]
  value, gradient = loss_and_gradient(
    kl_cov(fraction=golden["k"] / 11, kl_coef=golden["kl_coef"])
  )
  close(value, golden["value"])
  close(gradient, expected_gradient(golden))


@pytest.mark.parametrize(
  ("name", "settings"),
  [
    ("top_entropy_selected", {}),
    ("top_entropy_all", {"select": "quantile", "norm": "all"}),
    ("top_entropy_all", {"select": "top", "norm": "all"}),
  ],
)
def test_top_entropy_has_its_golden_loss_and_gradient(name, settings):
  golden = LOSSES[name]
  value, gradient = loss_and_gradient(
    chain(clip_of(LOSSES["dapo"]), top_entropy(**settings))
  )
  close(value, golden["value"])
  close(gradient, expected_gradient(golden))


@pytest.mark.parametrize(
  ("name", "form"), [("steer_paper", "theorem"), ("steer_released", "released")]
)
def test_steer_has_its_golden_loss_and_weights(name, form):
  golden, base = LOSSES[name], LOSSES["dapo"]
  transform = steer(
    min_weight=golden["min_weight"],
    form=form,
    clip_low=base["clip_low"],
    clip_high=base["clip_high"],
  )
  value, gradient = loss_and_gradient(chain(clip_of(base), transform))
  close(value, golden["value"])
  base_gradient = np.array(METHODS["base_gradient"])
  row, token = golden["argmax"]
  for at, weight in (
    *(((0, t), w) for t, w in enumerate(golden["weights_of_row_0"])),
    ((row, token), golden["min_weight"]),
  ):
    close(gradient[at], weight * base_gradient[at])

  # On a loss that is not clipped each token's weight shows. It does not say
  # which tokens it stops, so that steer takes those that PPO would clip.
  def unclipped(tokens, token_loss, coefficient, key):
    token_loss = reinforce()(tokens, token_loss, coefficient, key)
    (term,) = token_loss.terms
    return token_loss._replace(terms=(Term(term.loss, term.weight),))

  _, weighted = loss_and_gradient(chain(unclipped, transform))
  _, plain = loss_and_gradient(reinforce())
  close(weighted[0] / plain[0], golden["weights_of_row_0"])
  if "clipped" in golden:
    at = tuple(golden["clipped"])
    close(weighted[at] / plain[at], golden["weight_of_clipped"])


@pytest.mark.parametrize("name", ["gspo", "gspo_wide"])
def test_gspo_has_its_golden_loss_and_gradient(name):
  golden = LOSSES[name]
  value, gradient = loss_and_gradient(
    gspo(clip_low=golden["clip_low"], clip_high=golden["clip_high"]),
    aggregation.seq_mean_token_mean,
  )
  close(value, golden["value"])
  if "gradient_entries" in golden:
    close(gradient, expected_gradient(golden))
  else:  # no sequence is clipped: -A s / (3 rows * its tokens)
    inputs = METHODS["inputs"]
    ratios, lengths = golden["sequence_ratios"], np.sum(inputs["m"], axis=1)
    each = -np.array(inputs["A"]) * ratios / (3 * lengths)
    close(gradient, each[:, None] * np.array(inputs["m"]))


def test_cispo_has_its_golden_loss_and_gradient():
  golden = LOSSES["cispo"]
  value, gradient = loss_and_gradient(
    cispo(clip_low=golden["clip_low"], clip_high=golden["clip_high"])
  )
  close(value, golden["value"])
  close(gradient, expected_gradient(golden))


def test_ce_gppo_has_its_golden_loss_and_gradient():
  golden = LOSSES["ce_gppo"]
  value, gradient = loss_and_gradient(
    ce_gppo(
      clip_low=golden["clip_low"],
      clip_high=golden["clip_high"],
      beta_low=golden["beta_low"],
      beta_high=golden["beta_high"],
      dual_clip=10.0,
    )
  )
  close(value, golden["value"])
  close(gradient, expected_gradient(golden))


def test_erc_lets_its_golden_tokens_learn():
  golden = METHODS["entropy_ratio_clip"]
  _, gradient = loss_and_gradient(
    chain(reinforce(), erc(low=golden["low"], high=golden["high"]))
  )
  assert np.argwhere(np.asarray(gradient)).tolist() == golden["kept"]


def test_entropy_advantage_has_its_golden_advantages():
  golden, tokens = METHODS["entropy_advantage"], golden_tokens()
  settings = {"alpha": golden["alpha"], "kappa": golden["kappa"]}
  ratio = advantage_ratio(tokens.entropy, tokens.advantages, **settings)
  close(tokens.advantages * ratio * tokens.mask, golden["advantages"])
  _, gradient = loss_and_gradient(
    chain(reinforce(), entropy_advantage(**settings))
  )
  close(gradient, -np.array(golden["advantages"]) / 11)


def entropic_controller(golden):
  controller = entropic_pi(
    target=golden["target"], kp=golden["kp"], ki=golden["ki"]
  )
  state = PIState(integral=jnp.float32(golden["integral"]))
  tokens = golden_tokens()
  entropy = jnp.sum(tokens.entropy * tokens.mask) / jnp.sum(tokens.mask)
  return controller, state, entropy


@pytest.mark.parametrize(
  "name", ["entropic_above_target", "entropic_below_target"]
)
def test_the_controller_has_its_golden_error_and_coefficient(name):
  golden = LOSSES[name]
  controller, state, entropy = entropic_controller(golden)
  close(controller.metrics(state, entropy)["control/error"], golden["error"])
  close(controller.coefficient(state, entropy), golden["coefficient"])


@pytest.mark.parametrize(
  "name", ["entropic_above_target", "entropic_below_target"]
)
def test_entropic_has_its_golden_loss_and_gradient(name):
  golden = LOSSES[name]
  controller, state, entropy = entropic_controller(golden)
  value, gradient = loss_and_gradient(
    chain(
      clip_of(golden),
      entropic(),
    ),
    coefficient=controller.coefficient(state, entropy),
  )
  close(value, golden["value"])
  close(gradient, expected_gradient(golden))


@pytest.mark.parametrize(
  "name", ["entropic_above_target", "entropic_below_target"]
)
def test_entropic_acts_on_its_golden_tokens(name):
  _, gradient = loss_and_gradient(
    entropic(), coefficient=LOSSES[name]["coefficient"]
  )
  acted_on = np.argwhere(np.asarray(gradient)).tolist()
  assert acted_on == LOSSES[name]["selected"]


def test_sent_has_its_golden_covariances_and_sets():
  golden = METHODS["sent"]
  log_probs, advantages, entropy = (
    jnp.asarray([golden[name]], jnp.float64)
    for name in ("log_probs", "advantages", "entropy")
  )
  tokens = ScoredTokens(
    log_probs=log_probs,
    old_log_probs=log_probs,
    ref_log_probs=log_probs - jnp.log(2.0),  # the slope of k3 is 1/2
    entropy=entropy,
    old_entropy=entropy,
    advantages=advantages,
    mask=jnp.ones((1, 6), jnp.float32),
  )
  covariance = token_covariance(log_probs, advantages, tokens.mask)
  close(covariance, [golden["covariance"]])
  close(jnp.mean(covariance), golden["mean_covariance"])
  # one of the three tokens of low entropy lies above the least high covariance
  objective = sent(
    low_fraction=golden["low_fraction"],
    cov_fraction=0.34,
    beta_low=1.0,
    beta_high=3.0,
  )
  gradient = jax.grad(
    lambda log_probs: policy_loss(
      objective,
      aggregation.token_mean,
      ScoredTokens(**{**vars(tokens), "log_probs": log_probs}),
    )[0]
  )(log_probs)
  beta = np.zeros(6)
  beta[golden["low"]], beta[golden["high"]] = 1.0, 3.0
  close(gradient, [beta / 2 / 6])


def test_the_entropy_guided_weight_has_its_golden_sequence():
  golden = METHODS["entropy_guided"]
  controller = entropy_guided(
    **{name: golden[name] for name in ("target", "step", "initial")}
  )
  state, actual = controller.transform.init(()), []
  for entropy in jnp.asarray(golden["entropy"], jnp.float32):
    _, state = controller.transform.update((), state, entropy=entropy)
    actual.append(controller.coefficient(state, entropy))
  close(actual, golden["coefficients"])


@pytest.mark.parametrize("estimator", [k1, k2, k3])
def test_a_kl_estimator_has_its_golden_mean(estimator):
  tokens = golden_tokens()
  kl = estimator(tokens.log_probs - tokens.old_log_probs)
  close(
    aggregation.token_mean(kl, tokens.mask),
    METHODS["kl_estimators"][estimator.__name__],
  )


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_the_reference_kl_is_its_estimator_times_its_coefficient(name):
  tokens = golden_tokens(ref_log_probs=METHODS["inputs"]["old"])
  loss, _ = policy_loss(
    reference_kl(kl_coef=10.0, estimator=name), aggregation.token_mean, tokens
  )
  # ten times the golden mean, ten times its rounding to 7 decimals
  np.testing.assert_allclose(
    loss, 10 * METHODS["kl_estimators"][name], rtol=0, atol=1e-6
  )


@pytest.mark.parametrize("golden", METHODS["dual_clip"])
def test_the_dual_clip_bounds_the_loss_and_stops_its_gradient(golden):
  one = jnp.ones((1, 1))
  tokens = ScoredTokens(
    log_probs=golden["log_ratio"] * one,
    old_log_probs=0 * one,
    entropy=one,
    old_entropy=one,
    advantages=golden["advantage"] * one,
    mask=one.astype(jnp.float32),
  )

  def loss(log_probs):
    return policy_loss(
      ppo_clip(dual_clip=golden["dual_clip"]),
      aggregation.token_mean,
      ScoredTokens(**{**vars(tokens), "log_probs": log_probs}),
    )[0]

  value, gradient = jax.value_and_grad(loss)(tokens.log_probs)
  # the constants have 4 decimals
  np.testing.assert_allclose(value, golden["loss"], rtol=0, atol=5e-5)
  if "gradient" in golden:
    assert gradient == golden["gradient"]


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo"])
def test_an_advantage_rule_has_its_golden_values(name):
  golden = METHODS["advantages"]
  rewards = golden["rewards"]
  rule = getattr(advantages, name)()
  actual = rule(
    Responses(rewards=jnp.asarray([rewards], jnp.float64))
  ).advantages
  close(actual, [[golden[name][str(reward)] for reward in rewards]])


@pytest.mark.parametrize("golden", METHODS["pass_at_k"])
def test_pass_at_k_has_its_golden_value(golden):
  actual = pass_at_k(golden["n"], np.array([golden["c"]]), golden["k"])
  close(actual, [golden["value"]])
