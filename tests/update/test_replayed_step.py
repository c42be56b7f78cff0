"""One kept batch through several methods: gradients, and what they touch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entrojax.control import no_control
from entrojax.objectives import aggregation, reinforce
from entrojax.objectives.chain import scale_loss
from entrojax.update.replayed_step import cosine, make_replayed_step
from entrojax.update.train_step import init_state
from tests.helpers.updates import controlled, make_batch


def uncertain(tokens, token_loss, coefficient, key):
  """Drop the tokens of an entropy below 1.6 nats."""
  del coefficient, key
  return scale_loss(token_loss, (tokens.entropy >= 1.6).astype(float), {})


@pytest.fixture(scope="module")
def replay(bigram):
  """Return replay(advantages, keep) of a table's step on 16 rows."""
  optimizer = controlled(no_control(), sgd=optax.sgd(0.1))
  members = {"reinforce": reinforce(), "uncertain": uncertain}
  step = jax.jit(
    make_replayed_step(
      bigram, members, aggregation.token_mean, optimizer, group_size=2
    )
  )
  table = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
  state = init_state({"embed_tokens": jnp.asarray(table)}, optimizer)
  batch = make_batch(0)

  def run(advantages, keep):
    rows = jnp.asarray(advantages, jnp.float32)[:, None]
    replaced = {
      **vars(batch),
      "advantages": jnp.broadcast_to(rows, batch.response_mask.shape),
      "keep": jnp.asarray(keep, jnp.float32),
    }
    return step(state, None, type(batch)(**replaced), jax.random.key(0))

  return run


RIGHT = np.arange(16) % 3 == 0


@pytest.mark.slow
def test_a_method_has_cosine_1_with_itself(replay):
  signs = np.where(RIGHT, 1, -1)
  one, other = (replay(signs, np.ones(16)) for _ in range(2))
  assert float(cosine(one.gradient, other.gradient)) == pytest.approx(1, 1e-6)
  opposite = replay(-signs, np.ones(16))
  assert float(cosine(one.gradient, opposite.gradient)) == pytest.approx(-1)


@pytest.mark.slow
def test_psr_and_nsr_add_up_to_reinforce(replay):
  # each is a mean over the tokens that it keeps
  psr, nsr = replay(np.ones(16), RIGHT), replay(-np.ones(16), ~RIGHT)
  both = replay(np.where(RIGHT, 1, -1), np.ones(16))
  sums = [
    step.tokens * step.gradient["embed_tokens"] for step in (psr, nsr, both)
  ]
  assert psr.tokens + nsr.tokens == both.tokens
  np.testing.assert_allclose(sums[0] + sums[1], sums[2], atol=1e-5)


@pytest.mark.slow
def test_a_step_has_the_tokens_that_its_members_touch(replay):
  step = replay(np.where(RIGHT, 1, -1), np.ones(16))
  assert 0 < float(step.touched.sum()) < float(step.tokens)
  np.testing.assert_allclose(
    step.after["embed_tokens"],
    replay(np.where(RIGHT, 1, -1), np.ones(16)).after["embed_tokens"],
  )
