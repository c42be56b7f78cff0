"""Give an update, and a verifier, numbers that are not finite.

A field of the update's batch gets a NaN, an infinity or a number near float32's
largest. The parameters must stay finite. If the update is skipped, parameters,
moments and the controller's state must be what they were, bit for bit; if it is
not, the harm was in a place that the loss does not read, or was finite.
"""

import dataclasses
from pathlib import Path
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from entrojax import control, objectives
from entrojax.models import DecoderConfig, decoder
from entrojax.objectives import aggregation
from entrojax.rollouts.rewards import verify_responses
from entrojax.types import Batch, Problem, TrainState, Verdict
from entrojax.update.optimizer import learning_rate_schedule, make_optimizer
from entrojax.update.soundness import SKIPPED
from entrojax.update.train_step import init_state, make_update
from experiments.torture.score import Score

_ROWS, _PROMPT, _RESPONSE, _VOCABULARY = 4, 2, 3, 8
_SIZES = DecoderConfig(
  vocab_size=_VOCABULARY,
  hidden_size=8,
  intermediate_size=8,
  num_hidden_layers=1,
  num_attention_heads=2,
  num_key_value_heads=1,
  head_dim=4,
)
_FIELDS = ("advantages", "old_log_probs", "old_entropy", "keep")
_VALUES = (float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e25)


def torture(draw: random.Random, count: int, folder: Path) -> list[Score]:
  """Harm the batch of `count` updates, and as many rewards."""
  del folder
  update, state = _make_update()
  failures, skipped = [], 0
  for _ in range(count):
    field, value = draw.choice(_FIELDS), draw.choice(_VALUES)
    batch = _batch(draw)
    array = np.array(getattr(batch, field))
    array[tuple(draw.randrange(size) for size in array.shape)] = value
    harmed = dataclasses.replace(batch, **{field: array})
    after, metrics = update(state, harmed)
    was_skipped = bool(metrics[SKIPPED].total)
    skipped += was_skipped
    text = _compare(state, after, was_skipped)
    failures += [f"{field} with {value}: {text}"] if text else []
    if not text and not was_skipped:
      state = after
  after, metrics = update(state, _batch(draw))
  if metrics[SKIPPED].total or _same(state, after):
    failures.append("a sound update after the harm was not taken")
  return [
    Score(
      "updates with bad numbers: parameters finite, nothing moves if skipped",
      count,
      failures,
      [f"{skipped} of them were skipped"],
    ),
    _torture_rewards(draw, count),
  ]


def _make_update() -> tuple[Any, TrainState]:
  """Build a jitted update with a controller, and its first state."""
  controller = control.entropic_pi(target=1.0)
  optimizer = make_optimizer(
    controller,
    learning_rate_schedule(
      peak=1e-2, warmup_steps=0, decay_steps=0, end_fraction=0.0
    ),
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    max_grad_norm=1.0,
  )
  model = decoder(_SIZES)
  members = {
    "ppo_clip": objectives.ppo_clip(),
    "entropic": objectives.entropic(),
  }
  update = make_update(
    model, members, aggregation.token_mean, optimizer, on_policy=False
  )
  state = init_state(model.init(jax.random.key(0)), optimizer)
  jitted = jax.jit(lambda s, b: update(s, None, b, jax.random.key(1)))
  return jitted, state


def _batch(draw: random.Random) -> Batch:
  """Draw a sound batch."""
  rng = np.random.default_rng(draw.randrange(2**32))
  length = _PROMPT + _RESPONSE
  mask = np.ones((_ROWS, _RESPONSE), np.float32)
  mask[-1, 1:] = 0  # a short response
  positions = np.tile(np.arange(length), (_ROWS, 1))
  positions[-1, _PROMPT + 1 :] = -1
  normal = lambda: rng.normal(size=(_ROWS, _RESPONSE)).astype(np.float32)
  return Batch(
    tokens=rng.integers(_VOCABULARY, size=(_ROWS, length)).astype(np.int32),
    positions=positions.astype(np.int32),
    response_mask=mask,
    keep=np.ones(_ROWS, np.float32),
    old_log_probs=-2 + 0.1 * normal(),
    old_entropy=np.abs(normal()),
    advantages=normal(),
  )


def _compare(before: TrainState, after: TrainState, skipped: bool) -> str:
  """Return what is wrong with a state after an update; "" if nothing."""
  finite = all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(after))
  if not finite:
    return "the state is not finite"
  if skipped and not _same(before, after):
    return "the update was skipped, and the state has moved"
  return ""


def _same(before: TrainState, after: TrainState) -> bool:
  """Return whether parameters and optimizer state are the same bits."""
  pairs = jax.tree.map(
    lambda a, b: bool(jnp.array_equal(a, b)),
    (before.params, before.opt_state),
    (after.params, after.opt_state),
  )
  return all(jax.tree.leaves(pairs))


def _torture_rewards(draw: random.Random, count: int) -> Score:
  """Let a verifier fail in some way on one of four responses."""
  failures = []
  for _ in range(count):
    at = draw.randrange(4)
    harm = draw.choice([*_VALUES[:3], None, "text", "raise", "no verdict"])

    def verify(problem, response, at=at, harm=harm):
      del problem
      if response != str(at):
        return Verdict(1.0, "", response)
      if harm == "raise":
        raise RuntimeError("the verifier failed")
      return "no verdict" if harm == "no verdict" else Verdict(harm, "", None)

    try:
      (row,) = verify_responses(
        [Problem("p", {})], [str(i) for i in range(4)], verify
      )
      rewards = [verdict.reward for verdict in row]
    except Exception as error:
      failures.append(f"{harm!r}: {type(error).__name__}: {error}")
      continue
    if rewards != [float(i != at) for i in range(4)]:
      failures.append(f"{harm!r}: the rewards are {rewards}")
  return Score("verifiers that fail: only their response is 0", count, failures)
