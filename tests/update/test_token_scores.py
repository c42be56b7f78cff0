"""Scores of sampled responses against log-softmax in numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.control import no_control
from entrojax.objectives import ppo_clip
from entrojax.objectives.aggregation import token_mean
from entrojax.objectives.chain import scale_loss
from entrojax.types import Rollout, TrainState
from entrojax.update.token_scores import Marking, score_samples
from tests.helpers.updates import PROMPT_LENGTH, log_softmax, make_batch

PROMPTS, SAMPLES, SCORED = 4, 4, 2
LEAST = 1.5  # nats


def calm(tokens, token_loss, coefficient, key):
  """Drop the loss of tokens of low entropy."""
  del coefficient, key
  kept = (tokens.entropy >= LEAST).astype(jnp.float32)
  return scale_loss(token_loss, kept, {})


@pytest.fixture(scope="module")
def scored(bigram):
  """Return the batch, the tables of policy and base, advantages and scores."""
  rng = np.random.default_rng(1)
  table, base = rng.normal(0, 1.5, (2, 8, 8)).astype(np.float32)
  batch = make_batch(0)
  prompts = np.asarray(batch.tokens)[::4, :PROMPT_LENGTH].repeat(4, 0)
  tokens = np.array(batch.tokens)
  tokens[:, :PROMPT_LENGTH] = prompts
  mask = np.asarray(batch.response_mask)
  zeros = np.zeros_like(mask)
  rollout = Rollout(
    jnp.asarray(tokens),
    batch.positions,
    batch.response_mask,
    *(jnp.asarray(x) for x in (zeros, zeros, zeros[:, 0])),
  )
  advantages = rng.normal(size=(PROMPTS, SAMPLES)).astype(np.float32)
  advantages[1] = 0.0
  control = no_control()
  state = TrainState(
    params={"embed_tokens": jnp.asarray(table)},
    opt_state={"control": control.transform.init({})},
    step=jnp.int32(0),
  )
  marking = Marking({"ppo_clip": ppo_clip(), "calm": calm}, token_mean, control)
  score = jax.jit(
    functools.partial(
      score_samples,
      bigram,
      num_samples=SAMPLES,
      num_scored=SCORED,
      temperature=0.8,
      marking=marking,
      mesh=None,
    )
  )
  scores = score(
    state,
    {"embed_tokens": jnp.asarray(base)},
    rollout,
    jnp.asarray(advantages),
    jnp.ones((PROMPTS, SAMPLES)),
    jax.random.key(0),
  )
  kept = np.arange(len(tokens)).reshape(PROMPTS, SAMPLES)[:, :SCORED].ravel()
  return tokens[kept], mask[kept], table, base, advantages, scores


def test_policy_and_base_are_scored_on_the_first_samples(scored):
  tokens, mask, table, base, _, scores = scored
  np.testing.assert_array_equal(scores.tokens, tokens[:, PROMPT_LENGTH:])
  np.testing.assert_array_equal(scores.mask, mask)
  before, chosen = tokens[:, PROMPT_LENGTH - 1 : -1], tokens[:, PROMPT_LENGTH:]
  for logits, log_probs, entropy in (
    (table, scores.log_probs, scores.entropy),
    (base, scores.base_log_probs, scores.base_entropy),
  ):
    every = log_softmax(logits / 0.8)[before]
    own = np.take_along_axis(every, chosen[..., None], -1)[..., 0]
    expected = -(np.exp(every) * every).sum(-1)
    where = mask > 0
    # float32 rounding of a softmax over 8 tokens
    np.testing.assert_allclose(
      np.asarray(log_probs)[where], own[where], rtol=1e-5
    )
    np.testing.assert_allclose(
      np.asarray(entropy)[where], expected[where], rtol=1e-5
    )


def test_the_candidates_are_the_likeliest_tokens(scored):
  tokens, mask, table, _, _, scores = scored
  every = log_softmax(table / 0.8)[tokens[:, PROMPT_LENGTH - 1 : -1]]
  expected = -np.sort(-every, axis=-1)[..., :5]
  where = mask > 0
  np.testing.assert_allclose(
    np.asarray(scores.top)[where], expected[where], rtol=1e-5
  )


def test_a_member_marks_the_tokens_whose_gradient_it_changes(scored):
  _, mask, _, _, advantages, scores = scored
  learns = advantages[:, :SCORED].reshape(-1, 1) != 0
  expected = (np.asarray(scores.entropy) < LEAST) & learns & (mask > 0)
  np.testing.assert_array_equal(scores.touched["calm"], expected)
  assert expected.any()
  assert not np.asarray(scores.touched["ppo_clip"]).any()
