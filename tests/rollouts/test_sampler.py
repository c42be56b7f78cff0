"""Rollouts: what is sampled, what is counted, and that the trainer agrees.

Most tests use a bigram policy, whose every probability is a row of a table.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.models import decoder
from entrojax.rollouts.sampler import (
  Sampling,
  generate,
  greedy,
  make_sampler,
  prompt_positions,
)
from entrojax.system.sharding import by_row, make_mesh, param_shardings
from entrojax.types import Prompts
from entrojax.update.scoring import score

pytestmark = pytest.mark.slow

PAD, EOS = 0, 1
RESPONSE_LENGTH = 4


def certain(successors) -> jax.Array:
  """Return parameters by which each token has one possible successor."""
  table = np.full((8, 8), -1e9, np.float32)
  for token, successor in successors.items():
    table[token, successor] = 0
  return {"embed_tokens": jnp.asarray(table)}


def random_logits(seed, scale=1.0):
  """Return parameters by which each token has random logits."""
  table = scale * np.random.default_rng(seed).normal(size=(8, 8))
  return {"embed_tokens": jnp.asarray(table, jnp.float32)}


def log_softmax(logits):
  logits = np.asarray(logits, np.float64)
  return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))


def make_prompts(*rows, ids=None) -> Prompts:
  """Return left-padded prompts from lists of tokens."""
  length = max(map(len, rows))
  tokens = [[PAD] * (length - len(row)) + list(row) for row in rows]
  mask = [[0.0] * (length - len(row)) + [1.0] * len(row) for row in rows]
  return Prompts(
    tokens=jnp.array(tokens, jnp.int32),
    mask=jnp.array(mask, jnp.float32),
    ids=jnp.arange(len(rows), dtype=jnp.int32) if ids is None else ids,
  )


@functools.partial(jax.jit, static_argnames=("model", "sampling"))
def run(model, params, prompts, key, sampling):
  return generate(model, params, prompts, key, sampling=sampling)


POLICY = make_sampler()


def sample(model, params, prompts, seed=0, sampler=POLICY, **options):
  options = {
    "group_size": 1,
    "response_length": RESPONSE_LENGTH,
    "eos_ids": (EOS,),
    "pad_id": PAD,
    **options,
  }
  sampling = Sampling(sampler=sampler, **options)
  return run(model, params, prompts, jax.random.key(seed), sampling)


def response_of(rollout):
  return np.asarray(rollout.tokens[:, -rollout.response_mask.shape[1] :])


# -- ends ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def endings(bigram):
  """Return a rollout of four rows, each with its own way to end.

  4 -> EOS; 3 -> 4 -> EOS; 6 -> 5 -> 3 -> 4 -> EOS, which takes the last place;
  5 -> 3 -> 4 -> EOS.
  """
  table = certain({6: 5, 5: 3, 3: 4, 4: EOS, PAD: 2, EOS: 2, 2: 2})
  prompts = make_prompts([4], [7, 3], [2, 2, 6], [7, 5])
  return sample(bigram, table, prompts)


def test_a_response_ends_with_its_eos(endings):
  np.testing.assert_array_equal(
    response_of(endings),
    [
      [EOS, PAD, PAD, PAD],
      [4, EOS, PAD, PAD],
      [5, 3, 4, EOS],
      [3, 4, EOS, PAD],
    ],
  )


def test_the_mask_counts_the_eos_and_nothing_after_it(endings):
  np.testing.assert_array_equal(
    endings.response_mask,
    [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]],
  )


def test_an_eos_in_the_last_place_is_no_truncation(endings):
  np.testing.assert_array_equal(endings.truncated, [0, 0, 0, 0])


def test_no_eos_is_a_truncation_and_eos_at_position_0_is_not(bigram):
  rollout = sample(
    bigram, certain({2: 2, 3: EOS, EOS: 2}), make_prompts([2], [3])
  )
  np.testing.assert_array_equal(rollout.truncated, [1, 0])
  np.testing.assert_array_equal(
    rollout.response_mask, [[1, 1, 1, 1], [1, 0, 0, 0]]
  )


def test_any_of_several_eos_tokens_ends_a_response(bigram):
  rollout = sample(
    bigram,
    certain({2: EOS, 3: 5, EOS: 2, 5: 2}),
    make_prompts([2], [3]),
    eos_ids=(EOS, 5),
  )
  np.testing.assert_array_equal(rollout.truncated, [0, 0])
  np.testing.assert_array_equal(
    response_of(rollout)[:, :2], [[EOS, PAD], [5, PAD]]
  )


def test_an_eos_in_the_prompt_ends_nothing(bigram):
  rollout = sample(bigram, certain({2: 3, 3: 3}), make_prompts([EOS, 2]))
  np.testing.assert_array_equal(response_of(rollout), [[3, 3, 3, 3]])


def test_after_the_end_log_probs_and_entropies_are_0(bigram):
  rollout = sample(
    bigram, random_logits(0), make_prompts([2], [3], [4], [5]), group_size=8
  )
  after = np.asarray(rollout.response_mask) == 0
  assert after.any()
  assert not np.asarray(rollout.log_probs)[after].any()
  assert not np.asarray(rollout.entropy)[after].any()


def test_positions_count_from_the_first_token_and_stop_at_the_end(endings):
  np.testing.assert_array_equal(
    endings.positions,
    [
      [-1, -1, 0, 1, -1, -1, -1],
      [-1, 0, 1, 2, 3, -1, -1],
      [0, 1, 2, 3, 4, 5, 6],
      [-1, 0, 1, 2, 3, 4, -1],
    ],
  )


def test_a_prompt_s_positions_start_at_its_first_token():
  result = prompt_positions(jnp.float32([[0, 0, 1, 1], [1, 1, 1, 1]]))
  np.testing.assert_array_equal(result, [[-1, -1, 0, 1], [0, 1, 2, 3]])


def test_a_group_s_rows_are_neighbours_behind_their_prompt(bigram):
  prompts = make_prompts([2], [3, 4])
  rollout = sample(bigram, random_logits(0), prompts, group_size=3)
  np.testing.assert_array_equal(
    rollout.tokens[:, :2], [[0, 2]] * 3 + [[3, 4]] * 3
  )


# -- what is sampled ----------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_probs_and_entropies_are_those_of_the_table(bigram, temperature):
  params = random_logits(1)
  rollout = sample(
    bigram,
    params,
    make_prompts([2], [3], [4], [5]),
    group_size=8,
    temperature=temperature,
  )
  log_p = log_softmax(params["embed_tokens"] / temperature)
  previous, tokens = rollout.tokens[:, :-1], rollout.tokens[:, 1:]
  mask = np.asarray(rollout.response_mask)
  # float32 numbers below 8
  np.testing.assert_allclose(
    rollout.log_probs, mask * log_p[previous, tokens], rtol=0, atol=2e-6
  )
  entropy = -np.sum(np.exp(log_p) * log_p, axis=-1)
  np.testing.assert_allclose(
    rollout.entropy, mask * entropy[previous], rtol=0, atol=2e-6
  )


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_tokens_are_drawn_with_their_probabilities(bigram, temperature):
  params = random_logits(2, scale=0.25)
  rollout = sample(
    bigram,
    params,
    make_prompts(*[[i % 8] for i in range(32)]),
    group_size=64,
    temperature=temperature,
    eos_ids=(),
  )
  p = np.exp(log_softmax(params["embed_tokens"] / temperature))
  tokens = np.asarray(rollout.tokens)
  for previous in range(8):
    followers = tokens[:, 1:][tokens[:, :-1] == previous]
    expected = len(followers) * p[previous]
    counts = np.bincount(followers, minlength=8)
    chi_square = np.sum((counts - expected) ** 2 / expected)
    # 7 degrees of freedom exceed 40 once in a million draws of the key
    assert expected.min() > 5
    assert chi_square < 40


PROBABILITIES = np.array([0.0625, 0.5, 0.0625, 0.25, 0.125])


def drawn_by(sampler):
  """Return how often each token is drawn from PROBABILITIES, of 4096."""
  logits = jnp.log(jnp.float32(PROBABILITIES))
  keys = jax.random.split(jax.random.key(0), 4096)
  tokens = jax.vmap(sampler, (0, None))(keys, logits)
  return np.bincount(tokens, minlength=len(PROBABILITIES))


@pytest.mark.parametrize(
  ("settings", "kept"),
  [
    ({}, [0, 1, 2, 3, 4]),
    ({"top_k": 1}, [1]),
    ({"top_k": 2}, [1, 3]),
    ({"top_k": 3}, [1, 3, 4]),
    ({"top_k": 5}, [0, 1, 2, 3, 4]),
    ({"top_k": 9}, [0, 1, 2, 3, 4]),
    ({"top_p": 1e-6}, [1]),
    ({"top_p": 0.49}, [1]),
    ({"top_p": 0.51}, [1, 3]),
    ({"top_p": 0.74}, [1, 3]),
    ({"top_p": 0.76}, [1, 3, 4]),
    ({"top_p": 0.87}, [1, 3, 4]),
    # of the three kept, 4/7 and 2/7 reach 0.8
    ({"top_k": 3, "top_p": 0.8}, [1, 3]),
    ({"top_k": 2, "top_p": 0.99}, [1, 3]),
  ],
)
def test_a_sampler_keeps_exactly_the_most_probable_tokens(settings, kept):
  counts = drawn_by(make_sampler(**settings))
  # the rarest, at 1/16, is missing from 4096 draws once in e^264 keys
  assert np.flatnonzero(counts).tolist() == kept
  share = PROBABILITIES[kept] / PROBABILITIES[kept].sum()
  chi_square = np.sum((counts[kept] - 4096 * share) ** 2 / (4096 * share))
  # 4 degrees of freedom exceed 34 once in a million draws of the key
  assert chi_square < 34


@pytest.mark.parametrize("num_tokens", [5, 300])
def test_the_policy_s_sampler_draws_what_jax_s_categorical_draws(num_tokens):
  logits = np.random.default_rng(0).normal(size=num_tokens)
  logits[1] = -np.inf
  logits = jnp.asarray(logits, jnp.float32)
  keys = jax.random.split(jax.random.key(3), 2048)
  expected = jax.vmap(jax.random.categorical, (0, None))(keys, logits)
  result = jax.vmap(make_sampler(), (0, None))(keys, logits)
  np.testing.assert_array_equal(result, expected)
  assert result.dtype == expected.dtype


def test_greedy_takes_the_most_probable_token():
  counts = drawn_by(greedy)
  assert counts.tolist() == [0, 4096, 0, 0, 0]


def test_a_greedy_rollout_follows_the_table(bigram):
  params = random_logits(3)
  rollout = sample(
    bigram, params, make_prompts([2], [3]), sampler=greedy, eos_ids=()
  )
  best = np.argmax(params["embed_tokens"], axis=1)
  tokens = np.asarray(rollout.tokens)
  np.testing.assert_array_equal(tokens[:, 1:], best[tokens[:, :-1]])


def test_log_probs_are_of_the_whole_distribution_whatever_the_sampler(bigram):
  params = random_logits(4)
  rollout = sample(
    bigram,
    params,
    make_prompts([2], [3]),
    sampler=make_sampler(top_k=2),
    eos_ids=(),
  )
  expected = log_softmax(params["embed_tokens"])[
    rollout.tokens[:, :-1], rollout.tokens[:, 1:]
  ]
  # float32 numbers below 8
  np.testing.assert_allclose(rollout.log_probs, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"top_k": -1}, r"top_k .* -1"),
    ({"top_p": 0.0}, r"top_p .* 0\.0"),
    ({"top_p": 1.5}, r"top_p .* 1\.5"),
    ({"top_p": float("nan")}, r"top_p .* nan"),
  ],
)
def test_a_sampler_that_cannot_work_is_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    make_sampler(**settings)


# -- randomness ---------------------------------------------------------------


def rows_of(rollout, group_size):
  """Return the responses as [prompt][sample][token]."""
  tokens = response_of(rollout)
  return tokens.reshape(-1, group_size, tokens.shape[1])


def test_a_row_s_sample_depends_on_its_key_and_id_alone(bigram):
  params, draw = random_logits(5), functools.partial(sample, group_size=4)
  before = draw(
    bigram,
    params,
    make_prompts([2, 3], [4], [5], [6], ids=jnp.array([10, 11, 12, 13])),
  )
  after = draw(
    bigram,
    params,
    make_prompts([7], [5], [2, 3], [2], ids=jnp.array([20, 12, 10, 21])),
  )
  before, after = rows_of(before, 4), rows_of(after, 4)
  np.testing.assert_array_equal(after[2], before[0])
  np.testing.assert_array_equal(after[1], before[2])


def test_samples_of_a_group_differ_and_so_do_ids_and_keys(bigram):
  params = random_logits(6)
  prompts = make_prompts([2], [2], ids=jnp.array([0, 1]))
  options = {"group_size": 4, "response_length": 16, "eos_ids": ()}
  first = rows_of(sample(bigram, params, prompts, seed=0, **options), 4)
  other = rows_of(sample(bigram, params, prompts, seed=1, **options), 4)
  rows = {tuple(row) for rows in (first, other) for row in rows.reshape(8, 16)}
  assert len(rows) == 16  # 8^16 possible responses: equal ones are no chance


def test_the_same_key_draws_the_same_rollout(bigram):
  params, prompts = random_logits(7), make_prompts([2], [3])
  one, two = (sample(bigram, params, prompts, group_size=4) for _ in range(2))
  jax.tree.map(np.testing.assert_array_equal, one, two)


# -- the decoder --------------------------------------------------------------


def decoder_prompts(num_prompts=8, length=5):
  """Return prompts of 1 to `length` tokens, none of them pad or EOS."""
  rng = np.random.default_rng(0)
  lengths = rng.permutation(np.arange(num_prompts) % length + 1)
  return make_prompts(*(rng.integers(2, 11, n).tolist() for n in lengths))


DECODER_OPTIONS = {"group_size": 2, "response_length": 6, "temperature": 0.7}


@pytest.fixture(scope="module")
def decoder_rollout(tiny_model):
  return sample(*tiny_model, decoder_prompts(), **DECODER_OPTIONS)


@pytest.mark.parametrize("group_size", [1, 2])
def test_the_trainer_sees_what_the_sampler_saw(
  tiny_model, decoder_rollout, group_size
):
  model, params = tiny_model
  rollout = decoder_rollout
  scores = jax.jit(
    functools.partial(
      score, model, response_length=6, group_size=group_size, temperature=0.7
    )
  )(params, rollout.tokens, rollout.positions)
  lengths = np.sum(rollout.response_mask, axis=1)
  assert lengths.min() < 6  # some rows end early
  # logits below 10 after 2 layers of float32 sums, taken in another order
  for result, sampled in zip(
    scores, (rollout.log_probs, rollout.entropy), strict=True
  ):
    np.testing.assert_allclose(
      result * rollout.response_mask, sampled, rtol=0, atol=1e-5
    )
    assert np.isfinite(result).all()


@pytest.mark.parametrize("shape", [None, (2, 2, 2)])
def test_the_trainer_sees_long_prompts_and_responses_as_the_sampler(
  sizes, tiny_model, shape
):
  """Prompts are read once for their group, and a response in three lengths."""
  model, params = decoder(sizes, scan_layers=True), tiny_model[1]
  prompts = decoder_prompts(num_prompts=4, length=66)
  if shape is not None:
    mesh = make_mesh(shape)
    params = jax.device_put(params, param_shardings(mesh, params))
    prompts = jax.device_put(prompts, by_row(mesh))
  rollout = sample(
    model, params, prompts, group_size=2, response_length=270, eos_ids=()
  )
  scores = jax.jit(
    functools.partial(score, model, response_length=270, group_size=2)
  )(params, rollout.tokens, rollout.positions)
  assert np.min(rollout.response_mask) == 1
  # logits below 10 after 2 layers of float32 sums, taken in another order
  for result, sampled in zip(
    scores, (rollout.log_probs, rollout.entropy), strict=True
  ):
    np.testing.assert_allclose(result, sampled, rtol=0, atol=2e-5)


def test_other_prompts_do_not_change_a_row_of_the_decoder(
  tiny_model, decoder_rollout
):
  prompts = decoder_prompts()
  order = jnp.array([3, 0, 6, 1, 7, 2, 5, 4])
  permuted = jax.tree.map(lambda x: x[order], prompts)
  result = sample(*tiny_model, permuted, **DECODER_OPTIONS)
  np.testing.assert_array_equal(
    rows_of(result, 2), rows_of(decoder_rollout, 2)[order]
  )


@pytest.mark.parametrize("shape", [(8, 1, 1), (2, 2, 2)])
def test_the_samples_are_the_same_on_8_devices(
  tiny_model, decoder_rollout, shape
):
  model, params = tiny_model
  mesh = make_mesh(shape)
  result = sample(
    model,
    jax.device_put(params, param_shardings(mesh, params)),
    jax.device_put(decoder_prompts(), by_row(mesh)),
    **DECODER_OPTIONS,
  )
  np.testing.assert_array_equal(result.tokens, decoder_rollout.tokens)
  np.testing.assert_array_equal(
    result.response_mask, decoder_rollout.response_mask
  )
  # as between sampler and trainer: the same sums in another order
  np.testing.assert_allclose(
    result.log_probs, decoder_rollout.log_probs, rtol=0, atol=1e-5
  )
