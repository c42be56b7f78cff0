"""Differences to a baseline: right pairs, and intervals that cover it."""

from pathlib import Path

import numpy as np
import pytest

from entrojax.answers.pass_at_k import pass_at_k
from entrojax.reporting.differences import (
  all_differences,
  compare,
  find_baseline,
  paired_interval,
)
from entrojax.reporting.run_logs import RightAnswers, RunLog
from entrojax.reporting.variants import Variant

CASES, PROMPTS, SAMPLES = 1000, 64, 16


def chances(rng, cases, num_seeds, num_prompts):
  """Sample the chances to solve a prompt [cases, S, Q], without and with it.

  The method adds an effect to a prompt's chance. It differs by prompt and, if
  there are several seeds, by seed.
  """
  spread = 0.02 * (num_seeds > 1)
  base = rng.beta(2, 3, (cases, 1, num_prompts))
  effect = rng.normal(0.05, 0.1, base.shape)
  effect = effect + rng.normal(0, spread, (cases, num_seeds, 1))
  better = np.clip(base + effect, 0, 1)
  return np.broadcast_to(base, better.shape), better


@pytest.mark.parametrize(("num_seeds", "k"), [(1, 8), (3, 1), (3, 8), (5, 8)])
def test_the_intervals_of_a_known_effect_cover_it(num_seeds, k):
  rng = np.random.default_rng([num_seeds, k])
  # the mean effect over a hundred thousand other seeds and prompts
  base, better = chances(rng, 100_000, min(num_seeds, 2), 1)
  effect = np.mean((1 - base) ** k - (1 - better) ** k)
  both = chances(rng, CASES, num_seeds, PROMPTS)
  values = [
    pass_at_k(SAMPLES, rng.binomial(SAMPLES, chance).ravel(), k)
    for chance in both
  ]
  differences = (values[1] - values[0]).reshape(both[0].shape)
  intervals = [paired_interval(case) for case in differences]
  covered = [low <= effect <= high for _, low, high in intervals]
  assert 0.93 <= np.mean(covered) <= 0.97


def test_pairing_by_prompt_makes_the_interval_shorter():
  rng = np.random.default_rng(0)
  chance = rng.beta(1, 1, 400)
  base, own = rng.binomial(16, [chance, np.minimum(chance + 0.02, 1)])
  values = [pass_at_k(16, right, 1) for right in (own, base)]
  _, low, high = paired_interval((values[0] - values[1])[None])
  unpaired = 1.96 * np.sqrt(sum(v.var(ddof=1) for v in values) / 400)
  assert (high - low) / 2 < unpaired / 2


def test_the_interval_of_two_seeds_follows_by_hand():
  # means by seed 1 and 3, by prompt 2 and 2: all variance is between seeds,
  # (1 + 1) / 1 / 2 = 1, with one degree of freedom, t = 12.706
  mean, low, high = paired_interval(np.array([[1.0, 1.0], [3.0, 3.0]]))
  assert (mean, low, high) == pytest.approx((2, 2 - 12.706, 2 + 12.706))


def test_equal_answers_have_no_difference_and_an_empty_interval():
  assert paired_interval(np.zeros((3, 5))) == (0, 0, 0)


def evaluation(step, right, prompts="p", n=4):
  return RightAnswers("sums", step, n, prompts, np.array(right))


def run(name, seed, *evaluations):
  rows = [{"step": 1, "val/sums/pass@1": 0.5}]
  config = {"seed": seed}
  return RunLog(name, Path(name), rows, config, evaluations)


def test_runs_are_paired_by_seed_at_their_last_common_step():
  base = Variant(
    "grpo",
    (
      run("b0", 0, evaluation(5, [0, 0]), evaluation(9, [4, 4])),
      run("b1", 1, evaluation(5, [1, 1])),
      run("b7", 7, evaluation(5, [4, 4])),
    ),
  )
  own = Variant(
    "pi",
    (run("p0", 0, evaluation(5, [1, 1])), run("p1", 1, evaluation(5, [4, 4]))),
  )
  comparison = compare([base, own], 1, 0, "sums")
  assert (comparison.step, comparison.seeds, comparison.prompts) == (5, 2, 2)
  np.testing.assert_array_equal(comparison.k, [1, 2, 4])
  # of pass@1: 1/4 - 0 with seed 0, 1 - 1/4 with seed 1
  assert comparison.intervals[0].mean == pytest.approx(0.5)


@pytest.mark.parametrize(
  ("own", "reason"),
  [
    (run("p", 3, evaluation(5, [1, 1])), "pi: no seed in common"),
    (run("p", 0, evaluation(6, [1, 1])), "pi: no evaluation at the same step"),
    (run("p", 0, evaluation(5, [1, 1], "q")), "pi: evaluated on other prompts"),
    (run("p", 0), "pi: no counts of right answers in evaluations.jsonl"),
  ],
)
def test_a_variant_that_cannot_be_paired_is_named_with_the_reason(own, reason):
  variants = [
    Variant("grpo", (run("b", 0, evaluation(5, [0, 0])),)),
    Variant("pi", (own,)),
  ]
  (result,) = all_differences(variants, "grpo")
  assert not result.comparisons
  assert reason in result.notes[0]


def test_a_baseline_is_a_name_or_a_word_that_only_one_name_has():
  assert find_baseline(["pi", "grpo", "grpo-cov"], "grpo") == 1
  assert find_baseline(["pi", "config=grpo,lr=1"], "grpo") == 1
  assert find_baseline(["grpo,lr=1", "grpo,lr=2"], "grpo") is None
  assert find_baseline(["grpo2", "pi"], "grpo") is None
