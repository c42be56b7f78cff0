"""Test rules around the baselines: their order, one-sided learning, length.

The baselines themselves are tested in test_advantages.py, and what holds for
every rule in test_rule_suite.py.
"""

import dataclasses
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax import advantages, objectives
from entrojax.advantages import apply_rules
from entrojax.advantages.overlong import length_penalty
from entrojax.objectives import aggregation
from entrojax.types import Responses, ScoredTokens
from tests.helpers.paths import GOLDENS
from tests.helpers.rule_cases import apply, close, random_responses, same

METHODS = json.loads((GOLDENS / "methods.json").read_text())


# -- the order of rules -------------------------------------------------------


def test_rules_without_a_baseline_are_refused():
  with pytest.raises(ValueError, match=r"overlong_filter.*add a baseline"):
    apply(random_responses(0), "overlong_filter")
  with pytest.raises(ValueError, match="at least one rule"):
    apply_rules({}, random_responses(0))


@pytest.mark.parametrize(
  ("name", "field"),
  [
    ("overlong_penalty", "lengths"),
    ("overlong_filter", "truncated"),
    ("unlikeliness", "log_probs"),
    ("grpo_s", "entropies"),
  ],
)
def test_what_a_rule_lacks_is_named(name, field):
  settings = {"overlong_penalty": {"max_length": 12, "cache_length": 4}}
  responses = dataclasses.replace(random_responses(0), **{field: None})
  with pytest.raises(ValueError, match=f"{name} needs {field}"):
    apply(responses, name, "grpo", **settings)


def test_a_field_of_another_shape_is_named():
  responses = dataclasses.replace(random_responses(0), lengths=jnp.ones((6, 7)))
  with pytest.raises(ValueError, match=r"lengths has shape \(6, 7\)"):
    apply(responses, "grpo")


def test_the_parts_of_rewards_are_no_array():
  parts = {"format": jnp.ones((6, 8))}
  responses = dataclasses.replace(random_responses(0), parts=parts)
  with warnings.catch_warnings():
    warnings.simplefilter("error")  # JAX warns of a dictionary as an array
    apply(responses, "grpo")


def test_what_a_rule_changed_is_counted_in_tokens():
  responses = Responses(
    rewards=jnp.array([[1.0, 0.0, 0.0, 1.0]]),
    lengths=jnp.array([[1.0, 2.0, 3.0, 4.0]]),
    truncated=jnp.array([[0.0, 0.0, 1.0, 0.0]]),
  )
  metrics = apply(responses, "overlong_filter", "dr_grpo").metrics
  touched = metrics["overlong_filter/gradient_touched"]
  assert (touched.total, touched.count) == (3, 10)
  # weights A / 10 tokens become A / 7, and 0 for the third response
  before = np.repeat([0.5, -0.5, -0.5, 0.5], [1, 2, 3, 4]) / 10
  now = np.repeat([0.5, -0.5, 0, 0.5], [1, 2, 3, 4]) / 7
  close(
    metrics["overlong_filter/gradient_change"].total,
    np.linalg.norm(now - before) / np.linalg.norm(before),
  )


def test_a_rule_that_changes_nothing_says_so():
  metrics = apply(
    random_responses(0), "unlikeliness", "grpo", unlikeliness={"beta": 0.0}
  ).metrics
  assert metrics["unlikeliness/gradient_touched"].total == 0
  assert metrics["unlikeliness/gradient_change"].total == 0


ALL = {
  "overlong_penalty": {"max_length": 12, "cache_length": 4},
  "entrocraft": {"low": (0.6, 0.6), "high": (0.7, 0.7)},
}


def test_groups_and_the_order_of_responses_do_not_matter():
  responses = random_responses(1)
  names = (
    "overlong_penalty",
    "overlong_filter",
    "unlikeliness",
    "grpo",
    "entrocraft",
    "grpo_dropout",
  )
  whole = apply(responses, *names, **ALL)
  order = jnp.array([3, 0, 7, 5, 1, 2, 6, 4])

  def permute(x):
    return x if jnp.ndim(x) == 0 else x[::-1][:, order]

  actual = apply(jax.tree.map(permute, responses), *names, **ALL)
  close(actual.advantages, permute(whole.advantages))
  same(actual.keep, permute(whole.keep))


def test_one_trace_serves_all_values():
  traces = 0

  @jax.jit
  def rules(responses):
    nonlocal traces
    traces += 1
    return apply(responses, "unlikeliness", "grpo", "grpo_dropout")

  for seed in range(3):
    rules(random_responses(seed))
  assert traces == 1


# -- PSR, NSR, W-REINFORCE ----------------------------------------------------


def test_w_reinforce_weighs_right_and_wrong():
  done = apply(
    random_responses(0), "w_reinforce", w_reinforce={"positive_weight": 0.25}
  )
  same(done.advantages, np.where(random_responses(0).rewards > 0.5, 0.25, -1.0))
  same(done.keep, jnp.ones((6, 8)))


def test_w_reinforce_of_1_is_reinforce_of_plus_and_minus_1():
  done = apply(
    random_responses(0), "w_reinforce", w_reinforce={"positive_weight": 1.0}
  )
  same(done.advantages, 2 * random_responses(0).rewards - 1)


@pytest.mark.parametrize(("name", "sign"), [("psr", 1), ("nsr", -1)])
def test_a_one_sided_rule_learns_from_its_side_alone(name, sign):
  right = np.asarray(random_responses(0).rewards) > 0.5
  side = right if sign > 0 else ~right
  for denominator, keep in (("kept", side), ("all", np.ones_like(side))):
    done = apply(
      random_responses(0), name, **{name: {"denominator": denominator}}
    )
    same(done.advantages, np.where(side, sign, 0))
    same(done.keep, keep)


def test_w_reinforce_is_lambda_psr_plus_nsr_over_all_tokens():
  settings = {n: {"denominator": "all"} for n in ("psr", "nsr")}
  psr, nsr = (apply(random_responses(0), n, **settings) for n in ("psr", "nsr"))
  both = apply(random_responses(0), "w_reinforce")
  close(both.advantages, 0.1 * psr.advantages + nsr.advantages)


def logit_push(advantage):
  """Compute minus the loss's gradient in the logits of one sampled token."""
  golden = METHODS["decomposed"]

  def loss(logits):
    log_prob = jax.nn.log_softmax(logits)[0].reshape(1, 1)
    old = jax.lax.stop_gradient(log_prob)
    one = jnp.ones((1, 1))
    tokens = ScoredTokens(
      log_probs=log_prob,
      old_log_probs=old,
      entropy=one,
      old_entropy=one,
      advantages=advantage * one,
      mask=one,
    )
    return objectives.policy_loss(
      objectives.ppo_clip(), aggregation.token_mean, tokens
    )[0]

  return -jax.grad(loss)(jnp.asarray(golden["logits"], jnp.float32))


@pytest.mark.parametrize(
  ("rule", "reward", "golden"),
  [
    ("nsr", 0.0, "nsr"),
    ("w_reinforce", 1.0, "w_reinforce_right"),
  ],
)
def test_a_decomposed_rule_has_its_golden_push_on_logits(rule, reward, golden):
  done = apply(Responses(rewards=jnp.array([[reward]])), rule)
  close(logit_push(done.advantages[0, 0]), METHODS["decomposed"][golden])


def test_nsr_gives_to_the_other_tokens_by_their_probability():
  push = logit_push(-1.0)
  probability = jax.nn.softmax(
    jnp.array(METHODS["decomposed"]["logits"], float)
  )
  assert push[0] < 0
  close(push[1] / push[2], probability[1] / probability[2], atol=1e-5)
  # PSR takes from them by the same ratio
  close(logit_push(1.0), -push)


def test_a_group_with_no_wrong_response_gives_nsr_nothing():
  done = apply(Responses(rewards=jnp.ones((2, 4))), "nsr")
  assert not done.keep.any()


@pytest.mark.parametrize("name", ["w_reinforce", "psr", "nsr"])
def test_shaped_rewards_do_not_make_right_answers_wrong(name):
  responses = random_responses(7)
  shaped = dataclasses.replace(responses, rewards=responses.rewards - 0.75)
  actual, expected = (apply(r, name) for r in (shaped, responses))
  same(actual.advantages, expected.advantages)
  same(actual.keep, expected.keep)


# -- overlong -----------------------------------------------------------------


def test_the_length_penalty_has_its_golden_values():
  golden = METHODS["overlong_penalty"]
  actual = length_penalty(
    jnp.array([golden["lengths"]], jnp.float32),
    max_length=golden["max_length"],
    cache_length=golden["cache_length"],
  )
  close(actual, [golden["penalties"]])


def test_without_a_cache_only_what_is_beyond_the_limit_is_punished():
  actual = length_penalty(
    jnp.array([[99.0, 100.0, 101.0]]), max_length=100, cache_length=0
  )
  same(actual, [[0, 0, -1]])


def test_half_the_penalty_on_0_and_1_is_dapo_s_on_minus_1_and_1():
  responses = random_responses(2)
  settings = {"max_length": 12, "cache_length": 6}
  ours = apply(
    responses,
    "overlong_penalty",
    "grpo",
    overlong_penalty={**settings, "factor": 0.5},
  )
  signed = dataclasses.replace(responses, rewards=2 * responses.rewards - 1)
  dapo = apply(
    signed,
    "overlong_penalty",
    "grpo",
    overlong_penalty={**settings, "factor": 1.0},
  )
  # the 1e-6 beside a deviation that is twice as large
  close(ours.advantages, dapo.advantages, atol=2e-5)


def test_the_filter_leaves_truncated_responses_out_of_the_loss_alone():
  done = apply(random_responses(3), "overlong_filter", "grpo")
  same(done.keep, 1 - random_responses(3).truncated)
  same(done.advantages, apply(random_responses(3), "grpo").advantages)


# -- settings -----------------------------------------------------------------


@pytest.mark.parametrize(
  ("name", "settings", "message"),
  [
    ("w_reinforce", {"positive_weight": -0.1}, r"positive_weight .* -0\.1"),
    ("psr", {"denominator": "right"}, r"psr\.denominator .* 'right'"),
    ("nsr", {"denominator": "wrong"}, r"nsr\.denominator .* 'wrong'"),
    (
      "overlong_penalty",
      {"max_length": 0, "cache_length": 0},
      r"max_length .* 0",
    ),
    (
      "overlong_penalty",
      {"max_length": 4, "cache_length": 5},
      r"cache_length .* 4\], got 5",
    ),
    (
      "overlong_penalty",
      {"max_length": 4, "cache_length": 2, "factor": -1.0},
      r"factor .* -1\.0",
    ),
    ("unlikeliness", {"beta": 1.5}, r"beta .* 1\.5"),
    ("unlikeliness", {"rank_base": 2}, r"rank_base .* 2"),
    ("unlikeliness", {"rank_among": "right"}, r"rank_among .* 'right'"),
    ("unlikeliness", {"score": "min"}, r"score .* 'min'"),
    ("entrocraft", {"low": (0.6,)}, r"low .* \(0\.6,\)"),
    ("entrocraft", {"low": (0.8, 0.4)}, r"low = \(0\.8, 0\.4\)"),
    ("entrocraft", {"anneal_steps": -1}, r"anneal_steps .* -1"),
    ("entrocraft", {"signal": "both"}, r"signal .* 'both'"),
    ("qae", {"quantile": 0.0}, r"quantile .* 0\.0"),
    ("rs_grpo", {"beta": -1.0}, r"beta .* -1\.0"),
    (
      "gdpo",
      {"parts": ("a", "b"), "weights": (1.0,)},
      r"weights = \(1\.0,\) .*\.parts = \('a', 'b'\)",
    ),
    ("pass_at_k", {"k": 0}, r"pass_at_k\.k .* 0"),
    ("grpo_s", {"strength": -0.1}, r"strength .* -0\.1"),
    ("grpo_dropout", {"centre": "median"}, r"centre .* 'median'"),
  ],
)
def test_a_setting_that_cannot_work_is_named(name, settings, message):
  with pytest.raises(ValueError, match=message):
    getattr(advantages, name)(**settings)
