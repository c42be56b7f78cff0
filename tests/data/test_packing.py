"""Packed rows: no example reads another one, and none is lost."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.control import no_control
from entrojax.data.packing import Example, PackedStream, make_packed_batch, pack
from entrojax.entropy.token_stats import unembed
from entrojax.models import decoder
from entrojax.objectives import aggregation, reinforce
from entrojax.system.sharding import (
  by_row,
  make_mesh,
  param_shardings,
  replicated,
)
from entrojax.update.setup import BatchSplit
from entrojax.update.train_step import init_state, make_update
from tests.helpers.updates import BOTH, recording_sgd, totals

pytestmark = pytest.mark.slow

ROW_LENGTH = 12


def random_example(rng, prompt_length, response_length):
  draw = lambda n: rng.integers(3, 11, n).astype(np.int32)
  return draw(prompt_length), draw(response_length)


@pytest.fixture(scope="module")
def rows():
  """Return 8 rows of 1 to 4 examples, some full, some not."""
  rng = np.random.default_rng(0)
  lengths = [
    *([(3, 4), (1, 1), (2, 1)], [(5, 7)], [(1, 2), (4, 5)], [(2, 2)]),
    *([(1, 1)] * 4, [(3, 1), (3, 5)], [(2, 3), (2, 4)], [(6, 2), (1, 3)]),
  ]
  return [[random_example(rng, *pair) for pair in row] for row in lengths]


# -- a loss and its gradients -------------------------------------------------


def alone(model, rows):
  """Build loss(params): the cross-entropy of examples in rows of their own."""
  pairs = [pair for row in rows for pair in row]
  at = np.arange(ROW_LENGTH)
  tokens = np.zeros((len(pairs), ROW_LENGTH), np.int32)
  positions = np.full(tokens.shape, -1, np.int32)
  counted = np.zeros(tokens.shape)
  for i, (prompt, response) in enumerate(pairs):
    length = len(prompt) + len(response)
    tokens[i, :length] = np.concatenate([prompt, response])
    positions[i, :length] = at[:length]
    counted[i] = (at >= len(prompt)) & (at < length)

  def loss(params):
    hidden, _ = model.apply(params, jnp.asarray(tokens), jnp.asarray(positions))
    logits = unembed(hidden, model.unembedding(params))[:, :-1]
    every = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(every, tokens[:, 1:, None], axis=2)[..., 0]
    return -jnp.sum(chosen * counted[:, 1:]) / np.sum(counted)

  return loss


def packed_update(model, params, *, mesh=(1, 1, 1), **split):
  """Build run(batch) -> (metrics, gradients) of one update."""
  mesh = make_mesh(mesh, jax.devices()[: np.prod(mesh)])
  optimizer = recording_sgd(no_control(), 0.05)
  update = make_update(
    model,
    {"reinforce": reinforce()},
    aggregation.token_mean,
    optimizer,
    split=BatchSplit(**split),
    mesh=mesh,
  )
  state = init_state(params, optimizer)
  shardings = param_shardings(mesh, state)
  update = jax.jit(update, out_shardings=(shardings, replicated(mesh)))

  def run(batch):
    end, metrics = update(
      jax.device_put(state, shardings),
      None,
      jax.device_put(batch, by_row(mesh)),
      jax.device_put(jax.random.key(0), replicated(mesh)),
    )
    return totals(metrics), jax.device_get(end.opt_state["record"])

  return run


@pytest.fixture(scope="module")
def in_float64(sizes, tiny_model, rows):
  """Return an update on one device, and the numbers of examples alone.

  They are (model, parameters, packed_update, (loss, gradients)).
  """
  params = {**tiny_model[1]}
  params["layers"] = jax.tree.map(lambda x: x[:1], params["layers"])
  with jax.enable_x64(True):
    sizes = dataclasses.replace(sizes, num_hidden_layers=1)
    model = decoder(sizes, dtype=jnp.float64)
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
    expected = jax.jit(jax.value_and_grad(alone(model, rows)))(params)
    update = packed_update(model, params)
  return model, params, update, jax.device_get(expected)


@pytest.mark.parametrize("split", [{}, BOTH])
def test_packed_loss_and_gradients_are_those_of_examples_alone(
  split, rows, in_float64, float64
):
  model, params, update, (loss, gradients) = in_float64
  if split:
    update = packed_update(model, params, **split)
  metrics, packed_gradients = update(
    make_packed_batch(rows, ROW_LENGTH, pad_id=0)
  )
  # float64 sums in another order; a metric is a float32 scalar
  np.testing.assert_allclose(metrics["actor/loss"], loss, rtol=1e-6)
  jax.tree.map(
    lambda f, e: np.testing.assert_allclose(f, e, rtol=1e-8, atol=1e-11),
    packed_gradients,
    gradients,
  )


def test_without_restarting_positions_examples_would_see_each_other(
  rows, in_float64, float64
):
  _, _, update, _ = in_float64
  batch = make_packed_batch(rows, ROW_LENGTH, pad_id=0)
  running = np.arange(ROW_LENGTH, dtype=np.int32)[None]
  mixed = dataclasses.replace(
    batch, positions=np.where(batch.positions < 0, -1, running)
  )
  losses = [update(b)[0]["actor/loss"] for b in (batch, mixed)]
  assert abs(losses[0] - losses[1]) > 1e-2


def test_an_example_in_the_cache_is_not_seen_by_the_next(tiny_model):
  model, params = tiny_model
  rng = np.random.default_rng(1)
  first, second = (rng.integers(3, 11, (2, n)) for n in (4, 5))
  apply = jax.jit(model.apply)
  _, cache = apply(
    params,
    jnp.asarray(first),
    jnp.broadcast_to(jnp.arange(4), (2, 4)),
    model.init_cache(2, 9),
  )
  positions = jnp.broadcast_to(jnp.arange(5), (2, 5))
  behind, _ = apply(params, jnp.asarray(second), positions, cache)
  alone, _ = apply(params, jnp.asarray(second), positions)
  # float32 sums over 9 keys instead of 5
  np.testing.assert_allclose(behind, alone, rtol=1e-5, atol=1e-5)


# -- rows ---------------------------------------------------------------------


def test_a_batch_is_laid_out_as_the_module_docstring_shows():
  row = [([5, 6, 7], [8, 2]), ([5, 6], [8, 9, 9, 2]), ([5], [8, 2])]
  batch = make_packed_batch([row], 16, pad_id=0)
  assert batch.tokens.tolist() == [
    [5, 6, 7, 8, 2, 5, 6, 8, 9, 9, 2, 5, 8, 2, 0, 0]
  ]
  assert batch.positions.tolist() == [
    [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 0, 1, 2, -1, -1]
  ]
  assert batch.response_mask.tolist() == [
    [0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0]
  ]
  np.testing.assert_array_equal(batch.advantages, 1)


def test_an_example_goes_into_the_fullest_row_with_room():
  # 6 does not fit beside 7: a row each; 3 goes beside 7, 4 beside 6
  assert list(pack([7, 6, 3, 4, 9], 10)) == [[0, 2], [1, 3], [4]]
  # one open row: what does not fit closes it
  assert list(pack([7, 6, 3, 4], 10, open_rows=1)) == [[0], [1, 2], [3]]


def test_packing_keeps_every_example_and_fills_nearly_all():
  lengths = np.random.default_rng(0).integers(5, 40, 3000)
  rows = list(pack(lengths.tolist(), 64))
  assert sorted(i for row in rows for i in row) == list(range(3000))
  filled = [int(lengths[row].sum()) for row in rows]
  assert max(filled) <= 64
  assert np.mean(filled) > 0.97 * 64


# -- the stream ---------------------------------------------------------------


def tokens_of(batch):
  """Return the examples of a batch as tuples of tokens."""
  examples = []
  for tokens, positions in zip(batch.tokens, batch.positions, strict=True):
    starts = [*np.flatnonzero(positions == 0), int(np.sum(positions >= 0))]
    examples += [
      tuple(tokens[a:b].tolist()) for a, b in itertools.pairwise(starts)
    ]
  return examples


def stream_of(count=23, **options):
  """Return a stream of examples; the tokens of prompt i are 3 + i."""
  examples = [
    Example(
      np.full(1 + i % 4, 3 + i),
      [np.full(2, 50 + j) for j in range(1 + i % 3)],
    )
    for i in range(count)
  ]
  settings = {"num_rows": 2, "row_length": ROW_LENGTH, "pad_id": 0, "seed": 1}
  return PackedStream(examples, **{**settings, **options})


def test_an_epoch_shows_every_example_once_with_responses_that_vary():
  stream = stream_of(num_rows=1)
  rows, filled = stream.rows_of_first_epoch()
  epochs = []
  for _ in range(2):
    examples = []
    while len(examples) < 23:
      examples += tokens_of(next(stream))
    epochs.append({example[0]: example for example in examples})
    assert len(examples) == len(epochs[-1]) == 23
  assert epochs[0] != epochs[1]
  tokens = sum(len(example) for example in epochs[0].values())
  assert filled == pytest.approx(tokens / (rows * ROW_LENGTH))


def test_a_resumed_stream_continues_as_if_never_interrupted():
  stream = stream_of()
  for _ in range(5):  # beyond the first epoch
    next(stream)
  resumed = stream_of()
  resumed.restore(stream.state())
  for _ in range(7):
    jax.tree.map(np.testing.assert_array_equal, next(resumed), next(stream))


def test_a_stream_of_other_examples_is_refused():
  with pytest.raises(ValueError, match=r"num_examples=23 .* num_examples=22"):
    stream_of(22).restore(stream_of(23).state())


def test_few_examples_make_packed_batches_of_several_epochs():
  batch = next(stream_of(1, num_rows=3))
  assert tokens_of(batch) == [(3, 50, 50)] * 3
