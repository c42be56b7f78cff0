"""A kept batch is read as it was written, and a missing one is named."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entrojax.instruments.kept_batches import (
  KeptBatch,
  batch_path,
  read_batch,
  write_batch,
)
from entrojax.instruments.replay import MethodStep, overlaps, replay
from entrojax.system.sharding import make_mesh
from entrojax.types import Responses, Rollout
from entrojax.update.replayed_step import ReplayedStep
from entrojax.update.train_step import init_state


def kept(rollout_step, entropy_offset=None):
  rng = np.random.default_rng(0)
  draw = lambda: {"layers": {"w": rng.normal(size=(2, 3))}, "b": rng.normal()}
  fields = ("tokens", "positions", "response_mask", "log_probs", "entropy")
  return KeptBatch(
    rollout_step,
    *(draw() for _ in range(3)),
    np.int32(7),
    Rollout(*(rng.normal(size=(2, 3)) for _ in fields), rng.normal(size=2)),
    Responses(
      rng.normal(size=(1, 2)),
      parts={name: rng.normal(size=(1, 2)) for name in ("form", "form/tags")},
      rollout_step=np.int32(4),
    ),
    None,
    entropy_offset,
    np.array([1, 2], np.uint32),
    np.int32(9),
  )


@pytest.mark.parametrize("offset", [None, np.float32([0.2, 0.2])])
def test_a_batch_is_read_as_it_was_written(tmp_path, offset):
  batch = kept(3, offset)
  write_batch(tmp_path, batch)
  again = read_batch(tmp_path, 3)
  assert again.rollout_step == 3 and again.step_ok is None
  assert again.responses.correctness is None
  for a, b in zip(jax.tree.leaves(batch), jax.tree.leaves(again), strict=True):
    np.testing.assert_array_equal(a, b)
  assert jax.tree.structure(batch) == jax.tree.structure(again)


def test_moments_in_bfloat16_are_read_as_they_were_written(tmp_path):
  """numpy's format does not know bfloat16, and optimizer.mu_dtype may be it."""
  moments = {"w": np.array([0.5, -3.0, 1e-3]).astype(jnp.bfloat16)}
  write_batch(tmp_path, kept(3)._replace(mu=moments))
  again = read_batch(tmp_path, 3).mu["w"]
  assert again.dtype == jnp.bfloat16
  np.testing.assert_array_equal(again, moments["w"])


def test_a_file_without_its_step_has_the_number_of_steps_taken(tmp_path):
  write_batch(tmp_path, kept(3))
  with np.load(batch_path(tmp_path, 3)) as file:
    leaves = {name: file[name] for name in file.files if name != "step"}
  np.savez(batch_path(tmp_path, 3), **leaves)
  assert int(read_batch(tmp_path, 3).step) == 7


def test_a_missing_or_damaged_batch_is_named(tmp_path):
  with pytest.raises(ValueError, match=r"set log\.keep_batches"):
    read_batch(tmp_path, 3)
  write_batch(tmp_path, kept(12))
  with pytest.raises(ValueError, match=r"rollout step 3; it has \[12\]"):
    read_batch(tmp_path, 3)
  batch_path(tmp_path, 12).write_bytes(b"PK")
  with pytest.raises(ValueError, match=r"12\.npz cannot be read"):
    read_batch(tmp_path, 12)


def test_a_replay_steers_by_the_entropy_and_the_step_that_the_run_did():
  """The offset of dynamic sampling reaches the update that is replayed.

  Schedules are read at the run's step, also schedules of advantage rules.
  """
  batch, seen = kept(3, np.float32([0.2, 0.2])), []
  optimizer = optax.adam(1e-3)
  params = jax.tree.map(jnp.asarray, batch.params)

  def replay_step(state, ref_params, update_batch, key):
    seen.append((state, update_batch))
    raise InterruptedError  # what follows needs a model

  run = SimpleNamespace(
    state=init_state(params, optimizer),
    ref_params=None,
    mesh=make_mesh((1, 1, 1), jax.devices()[:1]),
    functions=SimpleNamespace(
      advantage=lambda r, step: dataclasses.replace(
        r, advantages=r.rewards * step
      ),
      ledger=SimpleNamespace(replay_step=replay_step),
    ),
  )
  with pytest.raises(InterruptedError):
    replay("entropic", run, run, batch)
  state, update_batch = seen[0]
  np.testing.assert_array_equal(
    update_batch.entropy_offset, batch.entropy_offset
  )
  assert int(state.step) == 9
  np.testing.assert_array_equal(
    update_batch.advantages[:, 0], np.float32(9 * batch.responses.rewards[0])
  )


def test_overlaps_are_shares_of_the_tokens_that_either_method_touches():
  touched = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]], np.float32)
  steps = [
    MethodStep("", ReplayedStep({}, {}, row[None], 4.0), 0, 0, 0, 0, 0)
    for row in touched
  ]
  np.testing.assert_allclose(
    overlaps(steps), [[1, 1 / 4, 0], [1 / 4, 1, 0], [0, 0, np.nan]]
  )
