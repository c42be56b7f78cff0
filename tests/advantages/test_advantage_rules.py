"""Test rules around the baselines: shaping, one-sided learning, rejection.

The baselines themselves are tested in test_advantages.py, and what holds for
every rule in test_rule_suite.py.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax import advantages, objectives
from entrojax.advantages import apply_rules
from entrojax.advantages.grpo_dropout import keep_by_entropy
from entrojax.advantages.overlong import length_penalty
from entrojax.objectives import aggregation
from entrojax.types import Responses, ScoredTokens
from tests.helpers.paths import GOLDENS
from tests.helpers.rule_cases import random_responses

METHODS = json.loads((GOLDENS / "methods.json").read_text())


def apply(responses, *names, **settings) -> Responses:
  """Apply rules by name; `settings` are keyed by the rule's name."""
  rules = {
    name: getattr(advantages, name)(**settings.get(name, {})) for name in names
  }
  return apply_rules(rules, responses)


def same(actual, expected):
  np.testing.assert_array_equal(actual, expected)


def close(actual, expected, atol=1e-6):
  np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


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


# -- unlikeliness -------------------------------------------------------------


def ranked_group():
  """Build a group of 8 responses whose likelihood falls with the index."""
  golden = METHODS["unlikeliness"]
  rewards = np.zeros((1, 8), np.float32)
  rewards[0, golden["right_at"]] = 1
  return Responses(
    rewards=jnp.asarray(rewards),
    log_probs=-0.1 * jnp.arange(8.0).reshape(1, 8) - 0.2,
  )


@pytest.mark.parametrize("rank_base", [1, 0])
def test_unlikeliness_has_its_golden_rewards_and_advantages(rank_base):
  golden = METHODS["unlikeliness"]
  expected = golden[f"rank_base_{rank_base}"]
  done = apply(
    ranked_group(),
    "unlikeliness",
    "grpo",
    unlikeliness={"beta": golden["beta"], "rank_base": rank_base},
  )
  close(done.rewards[0, jnp.array(golden["right_at"])], expected["rewards"])
  at = jnp.array([*golden["right_at"], 1])
  # the constants have 4 decimals
  close(done.advantages[0, at], expected["advantages"], atol=5.1e-5)
  plain = apply(ranked_group(), "grpo").advantages
  close(plain[0, at], golden["plain"], atol=5.1e-5)


def test_unlikeliness_of_0_is_the_baseline_bitwise():
  done = apply(
    random_responses(4), "unlikeliness", "grpo", unlikeliness={"beta": 0.0}
  )
  same(done.advantages, apply(random_responses(4), "grpo").advantages)


def test_wrong_responses_earn_nothing_and_likely_right_ones_earn_less():
  done = apply(random_responses(4), "unlikeliness", "grpo")
  responses = random_responses(4)
  for rewards, log_probs, raw, adv in zip(
    done.rewards,
    responses.log_probs,
    responses.rewards,
    done.advantages,
    strict=True,
  ):
    assert not rewards[raw == 0].any()
    right = np.flatnonzero(raw)
    order = right[np.argsort(log_probs[right])]
    if 0 < right.size < 8:
      assert np.all(np.diff(np.asarray(adv)[order]) < 0)


def test_a_group_of_equal_rewards_gets_nothing_from_the_factor():
  done = apply(random_responses(4), "unlikeliness", "grpo")
  assert not done.advantages[-2:].any()


def test_the_sum_of_log_probs_takes_the_long_ones_for_unlikely():
  responses = Responses(
    rewards=jnp.array([[1.0, 1.0, 0.0]]),
    log_probs=jnp.array([[-0.5, -0.6, -9.0]]),
    lengths=jnp.array([[10.0, 2.0, 1.0]]),
  )
  mean = apply(responses, "unlikeliness", "grpo").rewards
  total = apply(
    responses, "unlikeliness", "grpo", unlikeliness={"score": "sum"}
  ).rewards
  # of 3, two are below the likeliest: 1 - 0.25 * 2 / 3
  close(mean, [[1 - 0.5 / 3, 1 - 0.25 / 3, 0]])
  # sums -5, -1.2, -9
  close(total, [[1 - 0.25 / 3, 1 - 0.5 / 3, 0]])


def test_ranks_among_the_correct_pass_over_the_wrong():
  done = apply(
    ranked_group(),
    "unlikeliness",
    "grpo",
    unlikeliness={"rank_among": "correct"},
  )
  close(
    done.rewards[0, jnp.array([0, 3, 6])],
    [1 - 0.25 * 2 / 8, 1 - 0.25 / 8, 1],
  )


def test_of_equal_likelihoods_the_first_counts_as_the_lower():
  responses = Responses(
    rewards=jnp.array([[1.0, 1.0, 0.0]]), log_probs=jnp.full((1, 3), -1.0)
  )
  done = apply(responses, "unlikeliness", "grpo")
  close(done.rewards, [[1, 1 - 0.25 / 3, 0]])


def test_the_uplift_rate_counts_right_responses_by_rank():
  before = jnp.array([[-1.0, -2.0, -3.0], [-3.0, -1.0, -2.0]])
  after = before + jnp.array([[0.1, -0.1, 0.1], [0.1, 0.1, -0.1]])
  correct = jnp.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
  # rank 0: one right, rose; rank 1: two, neither rose; rank 2: two, both rose
  same(advantages.uplift_rate(before, after, correct), [1.0, 0.0, 1.0])


def test_a_penalty_before_it_does_not_excuse_wrong_answers():
  wrong = Responses(
    rewards=jnp.zeros((1, 4)),
    correctness=jnp.zeros((1, 4)),
    log_probs=jnp.array([[-0.1, -0.2, -0.3, -0.4]]),
    lengths=jnp.array([[6.0, 9.0, 11.0, 12.0]]),
  )
  settings = {"overlong_penalty": {"max_length": 12, "cache_length": 6}}
  names = ("overlong_penalty", "grpo")
  expected = apply(wrong, *names, **settings).advantages
  actual = apply(wrong, names[0], "unlikeliness", names[1], **settings)
  same(actual.advantages, expected)
  right = dataclasses.replace(
    wrong, rewards=jnp.ones((1, 4)), correctness=jnp.ones((1, 4))
  )
  expected = apply(right, *names, **settings).advantages
  actual = apply(right, names[0], "unlikeliness", names[1], **settings)
  same(actual.advantages, expected)


@pytest.mark.parametrize("name", ["w_reinforce", "psr", "nsr"])
def test_shaped_rewards_do_not_make_right_answers_wrong(name):
  responses = random_responses(7)
  shaped = dataclasses.replace(responses, rewards=responses.rewards - 0.75)
  actual, expected = (apply(r, name) for r in (shaped, responses))
  same(actual.advantages, expected.advantages)
  same(actual.keep, expected.keep)


# -- SEED-GRPO ----------------------------------------------------------------


def test_seed_grpo_halves_the_advantages_of_answers_that_all_differ():
  # in the first group SE = log 2 and s = 1, so 1 / (1 + s) = 1/2; in the second
  # one all answers agree and s = 0
  responses = Responses(
    rewards=jnp.array([[1.0, 0.0], [1.0, 0.0]]),
    log_probs=jnp.full((2, 2), -0.5),
    clusters=jnp.array([[0, 1], [0, 0]]),
  )
  done = apply(
    responses,
    "dr_grpo",
    "seed_grpo",
    seed_grpo={"form": "inverse", "alpha": 1.0},
  )
  close(done.advantages, [[0.25, -0.25], [0.5, -0.5]])


# -- Entrocraft ---------------------------------------------------------------


@pytest.mark.parametrize(
  ("entropy", "kept_signs"),
  [(0.45, (-1, 0, 1)), (0.55, (0, 1)), (0.35, (-1, 0)), (0.4, (-1, 0, 1))],
)
def test_entrocraft_rejects_a_sign_outside_its_band(entropy, kept_signs):
  responses = dataclasses.replace(
    random_responses(5), entropy=jnp.float32(entropy)
  )
  done = apply(responses, "grpo", "entrocraft")
  base = apply(responses, "grpo").advantages
  same(done.advantages, base)
  same(done.keep, np.isin(np.sign(base), kept_signs))


def test_entrocraft_s_band_moves_with_the_rollout_steps():
  settings = {"low": (0.6, 0.2), "high": (0.8, 0.4), "anneal_steps": 20}
  # after 10 of 20 steps the band is 0.4 to 0.6
  for entropy, whole in ((0.41, True), (0.59, True), (0.39, False)):
    responses = dataclasses.replace(
      random_responses(5), entropy=jnp.float32(entropy)
    )
    done = apply(responses, "grpo", "entrocraft", entrocraft=settings)
    assert bool(done.keep.all()) is whole


def test_entrocraft_as_released_learns_from_signs_outside_the_band():
  responses = dataclasses.replace(random_responses(5), entropy=jnp.float32(0.1))
  done = apply(responses, "grpo", "entrocraft", entrocraft={"signal": "reward"})
  # The entropy is too low: only wrong responses teach, also in groups where all
  # are wrong, and denominators count all.
  wrong = np.asarray(random_responses(5).rewards) <= 0.5
  same(done.advantages, np.where(wrong, -1.0, 0.0))
  same(done.keep, np.ones((6, 8)))


# -- GRPODropout --------------------------------------------------------------


def dropout_twin(advantages_, log_probs):
  """Drop the most negative h first while the sum is below 0, in numpy."""
  surprise = -np.float64(log_probs)
  h = np.float64(advantages_) * (surprise - surprise.mean()) / len(surprise)
  kept = set(range(len(h)))
  while kept and sum(h[i] for i in kept) < -1e-9:
    kept.remove(min(kept, key=lambda i: h[i]))
  kept |= {i for i in range(len(h)) if advantages_[i] <= 0}
  weights = np.exp(-surprise) * np.isin(np.arange(len(h)), list(kept))
  return kept, advantages_ - np.sum(weights * advantages_) / weights.sum()


@pytest.mark.parametrize("seed", range(5))
def test_grpo_dropout_is_its_recipe_written_out(seed):
  responses = random_responses(seed)
  base = np.asarray(apply(responses, "grpo").advantages)
  done = apply(responses, "grpo", "grpo_dropout")
  for row in range(4):  # the last two groups are silent
    kept, centred = dropout_twin(
      base[row], np.asarray(responses.log_probs[row])
    )
    assert set(np.flatnonzero(done.keep[row])) == kept
    close(done.advantages[row], centred, atol=1e-5)
  assert not done.advantages[-2:].any()
  assert done.keep[-2:].all()


@pytest.mark.parametrize("rule", ["grpo_dropout", "seed_grpo"])
def test_a_response_that_was_left_out_has_no_part_in(rule):
  responses = random_responses(2)
  given = apply(responses, "dr_grpo").advantages

  def baseline(responses):
    group_size = responses.rewards.shape[1]
    return dataclasses.replace(responses, advantages=given[:, :group_size])

  long = jnp.broadcast_to((jnp.arange(8) >= 5).astype(jnp.float32), (6, 8))
  filtered = apply_rules(
    {
      "baseline": baseline,
      "overlong_filter": advantages.overlong_filter(),
      rule: getattr(advantages, rule)(),
    },
    dataclasses.replace(responses, truncated=long),
  )
  five = jax.tree.map(lambda x: x if jnp.ndim(x) == 0 else x[:, :5], responses)
  alone = apply_rules(
    {"baseline": baseline, rule: getattr(advantages, rule)()}, five
  )
  close(filtered.advantages[:, :5], alone.advantages)
  same(filtered.keep[:, :5], alone.keep)


def test_only_right_and_likely_responses_are_dropped():
  responses = random_responses(6)
  done = apply(responses, "grpo", "grpo_dropout")
  base = apply(responses, "grpo").advantages
  dropped = np.asarray(done.keep) == 0
  assert dropped.any()
  assert np.all(np.asarray(base)[dropped] > 0)
  mean = np.mean(responses.log_probs, axis=1, keepdims=True)
  assert np.all(np.asarray(responses.log_probs > mean)[dropped])


def test_kept_advantages_are_centred_by_likelihood():
  responses = random_responses(6)
  done = apply(responses, "grpo", "grpo_dropout")
  weights = np.exp(responses.log_probs) * done.keep
  # 8 float32 products below 1
  close(np.sum(weights * done.advantages, axis=1), np.zeros(6), atol=2e-6)


def test_a_group_that_gains_entropy_is_kept_whole():
  # right responses are the unlikely ones: the covariance of A and s is positive
  base = jnp.array([[1.0, 1.0, -1.0, -1.0]])
  log_probs = jnp.array([[-3.0, -2.0, -1.0, -0.5]])
  all_count = jnp.ones_like(base)
  assert keep_by_entropy(base, log_probs, all_count).all()
  assert not keep_by_entropy(base, log_probs[:, ::-1], all_count).all()


def test_whole_groups_can_be_left_as_their_baseline():
  responses = Responses(
    rewards=jnp.array([[1.0, 1.0, 0.0, 0.0]]),
    log_probs=jnp.array([[-3.0, -2.0, -1.0, -0.5]]),
  )
  base = apply(responses, "grpo").advantages
  done = apply(
    responses,
    "grpo",
    "grpo_dropout",
    grpo_dropout={"centre_whole_groups": False},
  )
  same(done.advantages, base)
  assert not np.allclose(
    apply(responses, "grpo", "grpo_dropout").advantages, base
  )


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
