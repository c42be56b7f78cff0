"""Batch statistics are taken over the mini-batch, however it is split.

Every method that ranks, averages or draws over a mini-batch updates a bigram
policy three times: with the mini-batch as a whole, in 8 micro-batches, and over
8 devices. Losses, gradients and metrics agree, so the selections are the same:
a token more or less in one of them changes these numbers by about 1e-2.

One graph holds all methods, because 90 graphs would take minutes to compile.
The controller's coefficient chooses the method that is the objective.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entrojax.control import PIState, entropic_pi
from entrojax.objectives import chain, entropic, ppo_clip
from entrojax.types import Array, Controller, Mean, Term, TokenLoss
from tests.helpers.objective_cases import DRAWN
from tests.helpers.updates import Setting, difference

pytestmark = pytest.mark.slow

METHODS = {
  "entropic": chain(ppo_clip(), entropic(min_probability=0.3)),
  **{
    name: DRAWN[name]
    for name in (
      "gspo",
      "clip_cov, drawn",
      "kl_cov, abs",
      "top_entropy",
      "top_entropy, quantile",
      "steer, theorem",
      "steer, released",
      "erc",
      "stare",
      "adaptive_stare",
      "positive_reweighting",
      "sent",
      "sent_released",
      "adaptive_entropy",
    )
  },
}
SPLITS = {
  "whole": {},
  "8 micro-batches": {"num_microbatches": 8},
  "8 devices": {"mesh": (8, 1, 1)},
}
# Sums in another order differ by 6e-8; two updates accumulate that.
TOLERANCE = 1e-5


class Choice(NamedTuple):
  method: Array  # f32[], index into METHODS
  pi: PIState


def choosing() -> Controller:
  """Build EntroPIC's controller, which also chooses the method to run.

  Its coefficient is f32[2]: the method, and EntroPIC's own coefficient.
  """
  pi = entropic_pi(target=0.5, kp=0.25, ki=0.25)

  def update(updates, state, params=None, *, entropy, **unused):
    del params, unused
    _, after = pi.transform.update((), state.pi, entropy=entropy)
    return updates, Choice(state.method, after)

  return Controller(
    transform=optax.GradientTransformationExtraArgs(
      lambda _: chosen(0), update
    ),
    coefficient=lambda state, entropy: jnp.stack(
      [state.method, pi.coefficient(state.pi, entropy).astype(jnp.float32)]
    ),
    metrics=lambda state, entropy: pi.metrics(state.pi, entropy),
  )


def chosen(method: int) -> Choice:
  return Choice(jnp.float32(method), PIState(integral=jnp.float32(0.0)))


def any_method(tokens, token_loss, coefficient, key) -> TokenLoss:
  """Run the method that the coefficient chooses: two terms, two metrics."""
  nothing = Term(jnp.zeros_like(tokens.log_probs), jnp.zeros_like(tokens.mask))

  def branch(method, tokens, key):
    terms, metrics, penalties = method(tokens, token_loss, coefficient[1], key)
    terms = (*terms, *penalties)
    assert len(terms) <= 2
    touched = [m for name, m in metrics.items() if name.endswith("/touched")]
    return (*terms, nothing)[:2], {
      "method/touched": (touched or [metrics["actor/pg_clipfrac"]])[0],
      # The sum of all its metrics, because the methods' names for them differ.
      "method/metrics": Mean(
        sum(m.total.astype(tokens.log_probs.dtype) for m in metrics.values()),
        jnp.float32(1.0),
      ),
    }

  branches = [functools.partial(branch, m) for m in METHODS.values()]
  return TokenLoss(
    *jax.lax.switch(coefficient[0].astype(jnp.int32), branches, tokens, key)
  )


@pytest.fixture(scope="module")
def two_updates(bigram):
  """Return two_updates(split) -> run(control state), compiled once."""

  @functools.cache
  def make(split):
    table = np.random.default_rng(0).normal(size=(8, 8))
    params = {"embed_tokens": jnp.asarray(table, jnp.float32)}
    setting = Setting(bigram, params, {"any": any_method}, choosing())
    return setting.two_updates(**SPLITS[split])

  return make


@pytest.mark.parametrize("name", METHODS)
def test_statistics_are_the_mini_batch_s_on_any_split(name, two_updates):
  control = chosen(list(METHODS).index(name))
  expected, *others = (two_updates(split)(control) for split in SPLITS)
  for actual in others:
    assert difference(actual, expected) < TOLERANCE


@pytest.mark.parametrize("name", METHODS)
def test_the_comparison_has_something_to_compare(name, two_updates):
  run = two_updates("whole")
  index = list(METHODS).index(name)
  actual = run(chosen(index))
  assert actual["metrics"]["method/touched"] > 0
  assert 0.1 < abs(actual["metrics"]["control/coefficient"]) < 0.9
  other = run(chosen((index + 1) % len(METHODS)))
  assert difference(actual, other) > 1e-2
