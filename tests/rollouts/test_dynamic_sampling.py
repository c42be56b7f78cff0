"""Dynamic sampling on a simulated sampler: what is kept, and when it ends."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import countdown
from entrojax import advantages
from entrojax.advantages import grpo, overlong_penalty
from entrojax.instruments.kept_batches import read_batch
from entrojax.rollouts.dynamic_sampling import (
  RolloutBatch,
  has_signal,
  sample_until_filled,
  with_policy_entropy,
)
from entrojax.train import train
from entrojax.types import Responses, Rollout
from entrojax.update.forward import mean_entropies
from entrojax.update.train_step import make_batch
from tests.helpers.system import numbers

pytestmark = pytest.mark.slow

PROMPT, LENGTH = 2, 3


def sampled(correctness, first_token=0) -> RolloutBatch:
  """Return a batch of these verdicts [Q][G]; tokens number its rows."""
  correctness = np.asarray(correctness, np.float32)
  num_rows = correctness.size
  numbers = np.arange(first_token, first_token + num_rows)
  ones = np.ones((num_rows, LENGTH), np.float32)
  of_rows = numbers.astype(np.float32)[:, None]
  group = lambda x: np.asarray(x, np.float32).reshape(correctness.shape)
  return RolloutBatch(
    Rollout(
      tokens=np.repeat(numbers[:, None], PROMPT + LENGTH, 1).astype(np.int32),
      positions=np.tile(
        np.arange(PROMPT + LENGTH, dtype=np.int32), (num_rows, 1)
      ),
      response_mask=ones,
      log_probs=-of_rows * ones,
      entropy=of_rows * ones,
      truncated=np.zeros(num_rows, np.float32),
    ),
    Responses(
      rewards=correctness,
      correctness=correctness,
      log_probs=group(-numbers),
      lengths=np.full(correctness.shape, LENGTH, np.float32),
      truncated=np.zeros_like(correctness),
      clusters=numbers.reshape(correctness.shape).astype(np.int32),
      entropy=np.zeros((), np.float32),
      rollout_step=np.zeros((), np.int32),
    ),
  )


def sampler(*batches):
  """Return a sampler of these batches; row 100 i + r is row r of batch i."""
  return lambda i: sampled(batches[i], first_token=100 * i)


def first_tokens(batch: RolloutBatch) -> list[int]:
  """Return the number of each group's first row."""
  group_size = batch.responses.rewards.shape[1]
  return batch.rollout.tokens[::group_size, 0].tolist()


RIGHT, WRONG, MIXED = (1, 1), (0, 0), (0, 1)


def test_groups_are_kept_in_the_order_sampled_and_the_surplus_is_dropped():
  done = sample_until_filled(
    sampler([WRONG, MIXED, RIGHT, MIXED], [MIXED, RIGHT, MIXED, MIXED]),
    4,
    max_batches=5,
  )
  # groups 1 and 3 of the first batch, then 0 and 2 of the second one
  assert first_tokens(done.batch) == [2, 6, 100, 104]
  assert done.metrics == {
    "dynamic_sampling/batches": 2.0,
    "dynamic_sampling/kept": 5 / 8,
    "dynamic_sampling/filled": 1.0,
  }
  np.testing.assert_array_equal(done.batch.responses.keep, np.ones((4, 2)))
  assert done.all_responses.rewards.shape == (8, 2)


def test_every_array_is_of_the_group_that_was_kept():
  done = sample_until_filled(
    sampler([RIGHT, MIXED], [WRONG, MIXED]), 2, max_batches=2
  )
  rows = np.array([2, 3, 102, 103])
  rollout, responses = done.batch
  np.testing.assert_array_equal(rollout.tokens, np.tile(rows[:, None], 5))
  np.testing.assert_array_equal(rollout.log_probs, np.tile(-rows[:, None], 3))
  np.testing.assert_array_equal(responses.log_probs, -rows.reshape(2, 2))
  np.testing.assert_array_equal(responses.clusters, rows.reshape(2, 2))
  # each row has three tokens of an entropy of its number
  assert responses.entropy == pytest.approx(np.mean(rows))


def test_a_full_first_batch_is_left_as_it_is():
  before = sampled([MIXED, (1, 0)])
  done = sample_until_filled(lambda i: before, 2, max_batches=3)
  jax.tree.map(
    np.testing.assert_array_equal, done.batch.rollout, before.rollout
  )
  assert done.metrics["dynamic_sampling/batches"] == 1


def with_lengths(batch, lengths, entropy):
  """Return a batch with responses of these lengths [Q][G] and a mean entropy.

  Each token has the entropy 1 in a mixed group and 0 in another one.
  """
  lengths = np.asarray(lengths, np.float32)
  mask = (np.arange(LENGTH) < lengths.reshape(-1, 1)).astype(np.float32)
  mixed = has_signal(batch.responses).repeat(lengths.shape[1])[:, None]
  return RolloutBatch(
    dataclasses.replace(
      batch.rollout, response_mask=mask, entropy=mask * mixed
    ),
    dataclasses.replace(
      batch.responses, lengths=lengths, entropy=np.float32(entropy)
    ),
  )


def test_the_policy_s_entropy_is_that_of_everything_sampled():
  """In two batches of 8 and 4 tokens, two tokens each have an entropy of 1."""
  batches = [
    with_lengths(sampled([MIXED, RIGHT]), [[1, 1], [3, 3]], 2 / 8),
    with_lengths(sampled([WRONG, MIXED]), [[1, 1], [1, 1]], 2 / 4),
  ]
  filled = sample_until_filled(batches.__getitem__, 2, max_batches=2)
  assert float(filled.all_responses.entropy) == pytest.approx(4 / 12)
  assert float(filled.batch.responses.entropy) == pytest.approx(1)
  batch, offset = with_policy_entropy(filled)
  assert float(batch.responses.entropy) == pytest.approx(4 / 12)
  np.testing.assert_allclose(offset, np.full(4, 4 / 12 - 1), rtol=1e-6)


def test_controls_see_the_entropy_of_a_batch_plus_its_offset():
  rollout, responses = sampled([MIXED, MIXED])
  responses = dataclasses.replace(responses, advantages=responses.rewards)
  entropy = jnp.asarray(rollout.entropy)  # the number of the row
  batch = make_batch(rollout, responses)
  assert mean_entropies(entropy, batch, 2).tolist() == [0.5, 2.5]
  offset = jnp.full(4, -0.25)
  batch = make_batch(rollout, responses, entropy_offset=offset)
  assert mean_entropies(entropy, batch, 2).tolist() == [0.25, 2.25]


def test_groups_are_kept_between_a_low_and_a_high_mean_reward():
  rewards = [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
  kept = has_signal(sampled(rewards).responses, 0.25, 0.5)
  assert kept.tolist() == [True, True, False, False]
  assert has_signal(sampled(rewards).responses).tolist() == [1, 1, 1, 0]


def expected_batches(num_groups, p, max_batches):
  """Return the mean number of batches: sum over k of P(more than k).

  After k batches groups are missing if a binomial of k Q trials is below Q;
  its distribution is made by adding one trial at a time.
  """
  below = [1.0] + [0.0] * (num_groups - 1)  # P(n kept so far), n < Q
  mean = 0.0
  for _ in range(max_batches):
    mean += sum(below)
    for _ in range(num_groups):
      below = [
        (1 - p) * below[n] + (p * below[n - 1] if n else 0.0)
        for n in range(num_groups)
      ]
  return mean


@pytest.mark.parametrize("p", [0.15, 0.5, 0.9])
def test_the_number_of_batches_is_the_expected_one(p):
  rng, num_groups, trials = np.random.default_rng(0), 4, 1000

  def draw(i):
    del i
    kept = rng.random(num_groups) < p
    return sampled(np.where(kept[:, None], MIXED, WRONG))

  counts = [
    sample_until_filled(draw, num_groups, max_batches=20).metrics[
      "dynamic_sampling/batches"
    ]
    for _ in range(trials)
  ]
  error = np.std(counts) / np.sqrt(trials)
  expected = expected_batches(num_groups, p, 20)
  assert abs(np.mean(counts) - expected) < 4 * error  # 1 in 16,000 by chance


def test_a_group_that_differs_in_its_overlong_penalty_alone_is_dropped():
  batch = sampled([(1, 1), (0, 1)])
  lengths = np.array([[1, 3], [3, 3]], np.float32)
  batch = batch._replace(
    responses=dataclasses.replace(
      batch.responses,
      lengths=lengths,
      # as if shaped already: the first group's rewards differ
      rewards=np.array([[1, 0.5], [0, 1]], np.float32),
    )
  )
  assert has_signal(batch.responses).tolist() == [False, True]
  done = sample_until_filled(lambda i: batch, 2, max_batches=1)
  trained = advantages.apply_rules(
    {
      "overlong_penalty": overlong_penalty(max_length=3, cache_length=2),
      "grpo": grpo(),
    },
    done.batch.responses,
  )
  np.testing.assert_array_equal(trained.keep, [[1, 1], [0, 0]])
  assert np.all(np.asarray(trained.advantages)[0] != 0)


def test_a_group_whose_parts_differ_has_a_signal_for_rules_that_read_them():
  # the parts (1, 0) and (0, 1) have equal sums
  batch = sampled([(1, 1), (1, 1)])
  parts = {"answer": [[1, 0], [1, 1]], "format": [[0, 1], [0, 0]]}
  parts = {name: np.float32(values) for name, values in parts.items()}
  responses = dataclasses.replace(batch.responses, parts=parts)
  batch = batch._replace(responses=responses)
  assert has_signal(responses).tolist() == [False, False]
  done = sample_until_filled(
    lambda i: batch, 2, max_batches=1, parts=("answer", "format")
  )
  np.testing.assert_array_equal(done.batch.responses.keep, [[1, 1], [0, 0]])


@pytest.mark.parametrize("verdict", [RIGHT, WRONG, (0.5, 0.5)])
def test_a_group_of_one_verdict_has_no_signal(verdict):
  assert not has_signal(sampled([verdict]).responses).any()


@pytest.mark.parametrize(
  ("on_exhausted", "counted"), [("train_partial", 3), ("skip_step", 0)]
)
def test_missing_groups_are_filled_up_with_rows_that_count_nowhere(
  on_exhausted, counted
):
  done = sample_until_filled(
    sampler([MIXED, WRONG, RIGHT, WRONG], [WRONG, MIXED, MIXED, WRONG]),
    4,
    max_batches=2,
    on_exhausted=on_exhausted,
  )
  rollout, responses = done.batch
  assert first_tokens(done.batch) == [0, 102, 104, 2]
  counts = np.arange(4) < counted
  for array in (responses.keep, responses.lengths):
    assert (array.max(axis=1) > 0).tolist() == counts.tolist()
  for array in (rollout.response_mask, rollout.entropy, rollout.log_probs):
    assert not array[2 * counted :].any()
  assert rollout.response_mask[: 2 * counted].all()
  assert done.metrics["dynamic_sampling/filled"] == counted / 4
  assert done.metrics["dynamic_sampling/kept"] == 3 / 8
  tokens = rollout.response_mask.sum()
  assert responses.entropy == pytest.approx(
    rollout.entropy.sum() / max(tokens, 1)
  )


def test_asked_to_it_raises_where_groups_are_missing():
  with pytest.raises(
    ValueError, match=r"1 of 4 groups.*2 are needed.*max_batches = 2"
  ):
    sample_until_filled(
      sampler([WRONG, WRONG], [RIGHT, MIXED]),
      2,
      max_batches=2,
      on_exhausted="raise",
    )


def test_shapes_and_dtypes_are_the_same_whatever_was_kept():
  cases = [
    sample_until_filled(sampler([MIXED] * 4), 4, max_batches=1),
    sample_until_filled(
      sampler([WRONG] * 4, [WRONG, MIXED] * 2), 4, max_batches=2
    ),
    sample_until_filled(sampler([WRONG] * 4, [RIGHT] * 4), 4, max_batches=2),
  ]
  shapes = [
    jax.tree.map(lambda x: (x.shape, str(x.dtype)), case.batch)
    for case in cases
  ]
  assert shapes[0] == shapes[1] == shapes[2]
  plain = sampled([MIXED] * 4).rollout
  assert shapes[0].rollout == jax.tree.map(
    lambda x: (x.shape, str(x.dtype)), plain
  )


def test_a_batch_that_fills_up_has_the_loss_s_mask_at_0_where_nothing_counts():
  done = sample_until_filled(sampler([MIXED, WRONG]), 2, max_batches=1)
  responses = advantages.apply_rules({"grpo": grpo()}, done.batch.responses)
  batch = make_batch(jax.tree.map(jnp.asarray, done.batch.rollout), responses)
  mask = batch.response_mask * batch.keep[:, None]
  np.testing.assert_array_equal(mask[:, 0], [1, 1, 0, 0])
  np.testing.assert_array_equal(batch.response_mask, mask)


@pytest.mark.usefixtures("one_device", "session_data")
def test_a_frozen_policy_has_one_entropy_whatever_groups_are_kept(tmp_path):
  """A learning rate of 1e-30 freezes the policy: only sampling differs."""
  entropies = {}
  for name, enabled in (("plain", False), ("dynamic", True)):
    config = countdown.get_config("test")
    config.mesh, config.num_rollout_steps = (1, 1, 1), 12
    config.optimizer.learning_rate = 1e-30
    config.dynamic_sampling.enabled = enabled
    config.evaluation.split = "validation[:1]"
    config.log.keep_batches = (3,)
    train(config, tmp_path / name)
    rows = [r for r in numbers(tmp_path / name) if "rollout/entropy" in r]
    entropies[name] = [
      np.array([row[f"{of}/entropy"] for row in rows])
      for of in ("rollout", "actor")
    ]
  (plain, plain_groups), (dynamic, kept) = (
    entropies[name] for name in ("plain", "dynamic")
  )
  error = np.hypot(*(x.std(ddof=1) / 12**0.5 for x in (plain, dynamic)))
  assert abs(plain.mean() - dynamic.mean()) < 2 * error
  # the entropy of the groups that are kept is another one
  np.testing.assert_allclose(plain_groups, plain, atol=1e-5)
  assert np.abs(kept - dynamic).max() > 0.01
  # a kept batch has the difference, for its replay
  assert read_batch(tmp_path / "plain", 3).entropy_offset is None
  offset = read_batch(tmp_path / "dynamic", 3).entropy_offset
  np.testing.assert_allclose(offset, dynamic[2] - kept[2], atol=1e-5)
