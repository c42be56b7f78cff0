"""DCPO, Lp-Reg, SimKO and BAPO, each against its recipe in plain numpy.

A twin walks over the tokens and returns the loss and its gradient with respect
to the log-probs, worked out by hand. Sums have some 20 float32 terms below 2.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.entropy.statistics import log_prob_at, old, top_log_probs
from entrojax.objectives import bapo, chain, dcpo, lp_reg, ppo_clip, simko
from tests.helpers.objective_cases import evaluate, hand_tokens

LOW, HIGH, DUAL = 0.8, 1.2, 3.0


def near(actual, expected):
  np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


def counted(tokens):
  """Return the places of the counted tokens, and fields as float64 arrays."""
  names = ("log_probs", "old_log_probs", "entropy", "advantages")
  fields = [np.asarray(getattr(tokens, name), np.float64) for name in names]
  return np.argwhere(np.asarray(tokens.mask) > 0), fields


def statistic(tokens, name):
  return np.asarray(tokens.statistics[name], np.float64)


def ppo(ratio, advantage, low=LOW, high=HIGH, dual=DUAL):
  """Return PPO's loss of a token, and its derivative by the ratio."""
  clipped = min(max(ratio, low), high)
  loss, slope = -advantage * ratio, -advantage
  if -advantage * clipped > loss:
    loss, slope = -advantage * clipped, 0.0
  if dual and advantage < 0 and loss > -advantage * dual:
    loss, slope = -advantage * dual, 0.0
  return loss, slope


# -- DCPO ---------------------------------------------------------------------


@pytest.mark.parametrize(("target", "temperature"), [(1.5, 1.2), (0.5, 0.8)])
def test_dcpo_adds_reinforce_on_right_responses_at_a_temperature(
  target, temperature, random_tokens
):
  tokens = random_tokens(30, 5, 7)
  (places, (log_probs, olds, _, advantages)) = counted(tokens)
  tempered = statistic(tokens, old(log_prob_at(temperature)))
  rows = {i for i, _ in places}
  share = sum(advantages[i, 0] > 0 for i in rows) / len(rows)
  x = min(abs(target - 0.9), 0.1) / share  # 0.9: of the rollout batch
  alpha = x / (1 + x)
  loss, gradient = 0.0, np.zeros((5, 7))
  for i, t in places:
    ratio = math.exp(log_probs[i, t] - olds[i, t])
    value, slope = ppo(ratio, advantages[i, t])
    loss += (1 - alpha) * value
    gradient[i, t] += (1 - alpha) * slope * ratio
    if advantages[i, t] > 0:
      rho = math.exp(tempered[i, t] - olds[i, t])
      value, slope = ppo(ratio, 1.0)
      loss += alpha * rho * value
      gradient[i, t] += alpha * rho * slope * ratio
  objective = chain(ppo_clip(), dcpo(target=target))
  (actual, metrics), (actual_gradient, *_) = evaluate(objective, tokens)
  near(actual, loss / len(places))
  near(actual_gradient, gradient / len(places))
  near(metrics["dcpo/alpha"].total, alpha)


def test_dcpo_without_a_right_response_is_its_surrogate():
  zeros = jnp.zeros((1, 2))
  tokens = dataclasses.replace(
    hand_tokens([[0.1, -0.1]], [[-1.0, -1.0]]),
    statistics={old(log_prob_at(t)): zeros for t in (1.2, 0.8)},
  )
  near(
    evaluate(chain(ppo_clip(), dcpo(target=9.0)), tokens)[0][0],
    evaluate(ppo_clip(), tokens)[0][0],
  )


# -- Lp-Reg -------------------------------------------------------------------


def test_lp_reg_pulls_rare_wrong_tokens_towards_the_filtered_policy(
  random_tokens,
):
  tokens, min_p = random_tokens(31, 8, 12), 0.3
  (places, (log_probs, olds, _, advantages)) = counted(tokens)
  top = statistic(tokens, old(top_log_probs(4)))
  wrong = [(i, t) for i, t in places if advantages[i, t] < 0]
  wrong.sort(key=lambda place: log_probs[place])
  loss, gradient, touched = 0.0, np.zeros((8, 12)), 0
  for place in places:
    place = tuple(place)
    ratio = math.exp(log_probs[place] - olds[place])
    value, slope = ppo(ratio, advantages[place])
    loss += value
    gradient[place] += slope * ratio
    if place not in wrong[: int(0.8 * len(wrong))]:
      continue
    least = math.exp(top[place][0]) * min_p
    if math.exp(olds[place]) < least:
      continue
    mass = sum(p for p in np.exp(top[place]) if p >= least)
    gap = log_probs[place] - (olds[place] - math.log(mass))
    if gap < 0:
      touched += 1
      loss += 0.5 * (math.exp(-gap) + gap - 1)
      gradient[place] += 0.5 * (1 - math.exp(-gap))
  objective = chain(
    ppo_clip(), lp_reg(coef=0.5, min_p=min_p, fraction=0.8, candidates=4)
  )
  (actual, metrics), (actual_gradient, *_) = evaluate(objective, tokens)
  assert 0 < touched == metrics["lp_reg/touched"].total
  near(actual, loss / len(places))
  near(actual_gradient, gradient / len(places))


# -- SimKO --------------------------------------------------------------------


def test_simko_shares_the_gradient_of_right_peak_tokens(random_tokens):
  tokens, mix, weight = random_tokens(32, 5, 7), 0.3, 1.5
  (places, (log_probs, olds, entropy, advantages)) = counted(tokens)
  top = statistic(tokens, top_log_probs(3))
  loss, gradient, top_gradient = 0.0, np.zeros((5, 7)), np.zeros((5, 7, 3))
  for i, t in places:
    row = [entropy[place] for place in map(tuple, places) if place[0] == i]
    peak = entropy[i, t] >= np.quantile(row, 0.5) - 1e-9
    ratio = math.exp(log_probs[i, t] - olds[i, t])
    advantage = advantages[i, t]
    is_top = top[i, t, 0] - log_probs[i, t] <= 1e-6
    if advantage < 0 and peak and is_top:
      advantage *= weight
    value, slope = ppo(ratio, advantage, dual=None)
    loss += value
    shared = mix if peak and advantage > 0 else 0.0
    gradient[i, t] += (1 - shared) * slope * ratio
    top_gradient[i, t] += shared * slope * ratio / 3
  objective = simko(mix=mix, fraction=0.5, wrong_weight=weight)
  (actual, metrics), (actual_gradient, _, actual_top) = evaluate(
    objective, tokens
  )
  assert metrics["simko/shared"].total > 0
  assert metrics["simko/heavy"].total > 0
  near(actual, loss / len(places))
  near(actual_gradient, gradient / len(places))
  near(actual_top, top_gradient / len(places))


# -- BAPO ---------------------------------------------------------------------


def balance(tokens, low, high):
  """Return the weight of right tokens over the weight of wrong ones."""
  (places, (log_probs, olds, _, advantages)) = counted(tokens)
  right = wrong = 0.0
  for place in map(tuple, places):
    ratio = math.exp(log_probs[place] - olds[place])
    right += max(advantages[place], 0) * min(ratio, high)
    wrong += max(-advantages[place], 0) * max(ratio, low)
  return right / wrong


# the search moves the lower bound to 0.9 and 0.95, then the upper one
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9, 1.1])
def test_bapo_takes_the_first_bounds_that_balance_right_and_wrong(
  share, random_tokens
):
  tokens = random_tokens(33, 6, 9)
  narrow, wide = balance(tokens, 0.8, 1.2), balance(tokens, 0.95, 1.5)
  target = narrow + share * (wide - narrow)  # 1.1: out of reach
  low, high = 0.8, 1.2
  while balance(tokens, low, high) < target - 1e-9 and low < 0.949:
    low = min(low + 0.05, 0.95)
  while balance(tokens, low, high) < target - 1e-9 and high < 1.499:
    high = min(high + 0.1, 1.5)
  (places, (log_probs, olds, _, advantages)) = counted(tokens)
  loss, gradient = 0.0, np.zeros((6, 9))
  for place in map(tuple, places):
    ratio = math.exp(log_probs[place] - olds[place])
    value, slope = ppo(ratio, advantages[place], low, high)
    loss += value
    gradient[place] += slope * ratio
  objective = bapo(target=target - 1e-6, high=(1.2, 1.5, 0.1))
  (actual, metrics), (actual_gradient, _) = evaluate(objective, tokens)
  near(metrics["bapo/low"].total, low)
  near(metrics["bapo/high"].total, high)
  near(actual, loss / len(places))
  near(actual_gradient, gradient / len(places))


@pytest.mark.parametrize(
  ("make", "settings", "message"),
  [
    (bapo, {"target": -1.0}, r"bapo\.target .* -1\.0"),
    (bapo, {"low": (0.9, 0.8, 0.1)}, r"bapo\.low .* \(0\.9, 0\.8, 0\.1\)"),
    (bapo, {"high": (1.2, 2.0, 0.0)}, r"bapo\.high .* \(1\.2, 2\.0, 0\.0\)"),
    (bapo, {"dual_clip": 1.5}, r"bapo\.dual_clip .* 1\.5"),
    (dcpo, {"hot": 0.7}, r"dcpo\.hot .* \[0\.8, inf\).* 0\.7"),
    (dcpo, {"cold": 0.0}, r"dcpo\.cold .* 0\.0"),
    (dcpo, {"limit": -0.1}, r"dcpo\.limit .* -0\.1"),
    (lp_reg, {"min_p": 0.0}, r"lp_reg\.min_p .* 0\.0"),
    (lp_reg, {"candidates": 0}, r"top_log_probs .* 0"),
    (simko, {"mix": 1.5}, r"simko\.mix .* 1\.5"),
    (simko, {"fraction": 0.0}, r"simko\.fraction .* 0\.0"),
  ],
)
def test_a_setting_that_cannot_work_is_named(make, settings, message):
  with pytest.raises(ValueError, match=message):
    make(**settings)
