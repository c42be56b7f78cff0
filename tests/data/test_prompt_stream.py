"""The prompt stream: padding, order, resuming, errors."""

import jax
import numpy as np
import pytest

from entrojax.data import prompt_stream
from entrojax.data import tokenizer as tokenizer_lib
from entrojax.types import Problem, Prompts


@pytest.fixture(scope="module")
def tokenizer():
  backend = tokenizer_lib.character_tokenizer("0123456789=")
  return tokenizer_lib.Tokenizer(backend, eos_ids=[2], pad_id=0)


def make_problems(count):
  return [Problem(f"{i}=", {"target": i}) for i in range(count)]


def make_stream(tokenizer, *, count=10, num_prompts=4, seed=0):
  return prompt_stream.PromptStream(
    make_problems(count),
    tokenizer=tokenizer,
    num_prompts=num_prompts,
    prompt_length=4,
    seed=seed,
  )


def take_rows(stream, num_batches):
  size = stream.state()["num_problems"]
  return [(next(stream)[0].ids % size).tolist() for _ in range(num_batches)]


def test_prompts_are_padded_on_the_left(tokenizer):
  problems = [Problem("01=", {}), Problem("2", {})]
  prompts = prompt_stream.encode_prompts(problems, tokenizer, 4)
  # ids: <pad> 0, then '0' 3, '1' 4, '2' 5, ..., '=' 13
  np.testing.assert_array_equal(prompts.tokens, [[0, 3, 4, 13], [0, 0, 0, 5]])
  np.testing.assert_array_equal(prompts.mask, [[0, 1, 1, 1], [0, 0, 0, 1]])
  np.testing.assert_array_equal(prompts.ids, [0, 1])
  dtypes = [leaf.dtype for leaf in jax.tree.leaves(prompts)]
  assert dtypes == [np.int32, np.float32, np.int32]


def test_a_batch_of_short_prompts_has_a_smaller_bucket(tokenizer):
  problems = [Problem(text, {}) for text in ("0", "12", "0123", "12=")]
  prompts = prompt_stream.encode_prompts(problems, tokenizer, 4)
  of = lambda *rows: jax.tree.map(lambda x: x[list(rows)], prompts)
  small = prompt_stream.shortest(of(0, 1), (2, 3))
  np.testing.assert_array_equal(small.tokens, [[0, 3], [4, 5]])
  np.testing.assert_array_equal(small.mask, [[0, 1], [1, 1]])
  np.testing.assert_array_equal(small.ids, [0, 1])
  lengths = [
    prompt_stream.shortest(of(*rows), (2, 3)).tokens.shape[1]
    for rows in ((0,), (1, 3), (1, 2), (3,))
  ]
  assert lengths == [2, 3, 4, 3]
  assert prompt_stream.shortest(prompts, ()) is prompts


def test_the_stream_chooses_a_bucket_for_each_batch(tokenizer):
  problems = [Problem("1" * n, {}) for n in (1, 2, 3, 4)]
  stream = prompt_stream.PromptStream(
    problems,
    tokenizer=tokenizer,
    num_prompts=1,
    prompt_length=4,
    prompt_buckets=(2,),
    seed=0,
  )
  for _ in range(8):
    prompts, (problem,) = next(stream)
    assert prompts.tokens.shape[1] == (2 if len(problem.prompt) <= 2 else 4)


def test_a_template_changes_the_prompt_and_nothing_else(tokenizer):
  problems = [Problem("1=", {"a": 1}), Problem("23=", {"a": 2})]
  templated = prompt_stream.Templated(problems, lambda prompt: f"0{prompt}=")
  assert list(templated) == [
    Problem("01==", {"a": 1}),
    Problem("023==", {"a": 2}),
  ]
  assert templated[1:] == [Problem("023==", {"a": 2})]
  encoded = prompt_stream.encode_prompts(templated, tokenizer, 5)
  expected = prompt_stream.encode_prompts(list(templated), tokenizer, 5)
  np.testing.assert_array_equal(encoded.tokens, expected.tokens)


def test_no_problems_make_an_empty_array(tokenizer):
  assert prompt_stream.encode_prompts([], tokenizer, 4).tokens.shape == (0, 4)


def test_a_batch_holds_its_rows_and_their_problems(tokenizer):
  stream = make_stream(tokenizer)
  prompts, problems = next(stream)
  assert isinstance(prompts, Prompts)
  expected = prompt_stream.encode_prompts(problems, tokenizer, 4)
  np.testing.assert_array_equal(prompts.tokens, expected.tokens)
  np.testing.assert_array_equal(prompts.mask, expected.mask)
  assert [p.answer["target"] for p in problems] == prompts.ids.tolist()


def test_every_epoch_holds_every_row_once(tokenizer):
  rows = np.concatenate(take_rows(make_stream(tokenizer), 10))
  epochs = rows.reshape(4, 10)
  for epoch in epochs:
    assert sorted(epoch) == list(range(10))
  assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_seed_decides_the_order(tokenizer):
  first = take_rows(make_stream(tokenizer, seed=1), 6)
  assert take_rows(make_stream(tokenizer, seed=1), 6) == first
  assert take_rows(make_stream(tokenizer, seed=2), 6) != first


def test_a_batch_may_be_larger_than_the_data_set(tokenizer):
  small = take_rows(make_stream(tokenizer, num_prompts=25), 2)
  whole = take_rows(make_stream(tokenizer, num_prompts=50), 1)
  assert small[0] + small[1] == whole[0]


@pytest.mark.parametrize("consumed", [0, 1, 2, 3, 7])
def test_a_resumed_stream_continues_as_if_never_interrupted(
  tokenizer, consumed
):
  stream = make_stream(tokenizer)
  take_rows(stream, consumed)
  state = stream.state()
  expected = take_rows(stream, 6)
  resumed = make_stream(tokenizer)
  take_rows(resumed, 2)
  resumed.restore(state)
  assert resumed.state() == state
  assert take_rows(resumed, 6) == expected


def test_the_state_is_plain_integers(tokenizer):
  stream = make_stream(tokenizer, seed=7)
  next(stream)
  assert stream.state() == {"position": 4, "num_problems": 10, "seed": 7}


@pytest.mark.parametrize("change", [{"count": 9}, {"seed": 3}])
def test_the_state_of_another_stream_is_refused(tokenizer, change):
  state = make_stream(tokenizer, **change).state()
  with pytest.raises(ValueError, match=r"num_problems=9|seed=3"):
    make_stream(tokenizer).restore(state)


def test_an_empty_data_set_is_refused(tokenizer):
  with pytest.raises(ValueError, match="empty"):
    make_stream(tokenizer, count=0)


def test_a_prompt_that_does_not_fit_is_named_with_its_row(tokenizer):
  problems = [Problem("1=", {}), Problem("12345=", {})]
  with pytest.raises(
    ValueError, match=r"=4 tokens\. The longest, row 1, has 6"
  ):
    prompt_stream.PromptStream(
      problems, tokenizer=tokenizer, num_prompts=1, prompt_length=4, seed=0
    )


def test_a_prompt_that_cannot_be_encoded_is_named_with_its_row(tokenizer):
  problems = [Problem("1=", {}), Problem("1+", {})]
  message = r"the prompt of row 1: the tokenizer has no token for '\+' in '1\+'"
  with pytest.raises(ValueError, match=message):
    prompt_stream.encode_prompts(problems, tokenizer, 4)
  with pytest.raises(ValueError, match=message):
    prompt_stream.fitting_rows(problems, tokenizer, 4)


def test_an_empty_prompt_is_refused(tokenizer):
  with pytest.raises(ValueError, match="row 0 has 0 tokens"):
    prompt_stream.encode_prompts([Problem("", {})], tokenizer, 4)


@pytest.mark.parametrize("num_prompts", [0, -1])
def test_a_batch_needs_a_prompt(tokenizer, num_prompts):
  with pytest.raises(
    ValueError, match=r"rollout\.num_prompts must be at least 1"
  ):
    make_stream(tokenizer, num_prompts=num_prompts)


def test_a_bucket_needs_a_token(tokenizer):
  with pytest.raises(
    ValueError, match=r"rollout\.prompt_length must be at least 1"
  ):
    prompt_stream.encode_prompts([], tokenizer, 0)


def test_a_prompt_that_repeats_in_a_batch_has_an_id_of_its_own():
  ids = prompt_stream._distinct_ids(np.array([2, 0, 2, 1, 0, 2]), 4)
  assert ids.tolist() == [2, 0, 6, 1, 4, 10]
