"""Updates whose numbers are not finite are skipped and named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.types import TrainState
from entrojax.update.soundness import (
  IDLE,
  SKIPPED,
  is_sound,
  split_marks,
  step_soundness,
  tensor_names,
)
from entrojax.update.train_step import _advance

GRADS = {"a": jnp.ones(3), "b": {"c": jnp.full(2, 2.0)}}  # norm sqrt(11)
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
  ("loss", "entry", "step", "limit", "sound"),
  [
    (0.5, 2.0, 1.0, None, True),
    (NAN, 2.0, 1.0, None, False),
    (0.5, NAN, 1.0, None, False),
    (0.5, -INF, 1.0, None, False),
    (0.5, 2.0, NAN, None, False),
    (0.5, 2.0, 1e20, None, False),  # its square overflows float32
    (0.5, 2.0, 1.0, 3.4, True),
    (0.5, 2.0, 1.0, 3.2, False),
  ],
)
def test_a_step_is_sound_if_its_loss_norms_and_limit_allow_it(
  loss, entry, step, limit, sound
):
  grads = {"a": jnp.ones(3), "b": {"c": jnp.array([2.0, entry])}}
  updates = {"a": jnp.zeros(3), "b": {"c": jnp.array([0.0, step])}}
  assert bool(is_sound(jnp.float32(loss), grads, updates, limit)) == sound


def test_a_step_that_is_not_taken_changes_nothing_but_the_count():
  params = {"w": jnp.arange(3.0)}
  state = TrainState(params, {"control": {"integral": 0.3}}, jnp.int32(4))
  stepped = {"control": {"integral": NAN}}
  after = _advance(state, {"w": jnp.full(3, NAN)}, stepped, jnp.array(False))
  np.testing.assert_array_equal(after.params["w"], params["w"])
  assert float(after.opt_state["control"]["integral"]) == np.float32(0.3)
  assert int(after.step) == 5


def test_the_tensors_that_are_not_finite_are_named_and_the_marks_not_logged():
  bad = {"a": jnp.ones(3), "b": {"c": jnp.array([INF, 0.0])}}
  metrics = step_soundness(jnp.array(True), jnp.array(False), bad)
  marks, logged = split_marks(metrics)
  assert marks.skipped == 1
  assert tensor_names(bad, marks) == ["b/c"]
  assert logged.keys() == {SKIPPED, IDLE}


def test_marks_of_several_updates_add_up():
  steps = [
    step_soundness(jnp.array(True), jnp.array(not skipped), grads)
    for skipped, grads in [
      (False, GRADS),
      (True, {"a": jnp.full(3, NAN), "b": {"c": jnp.ones(2)}}),
      (True, {"a": jnp.ones(3), "b": {"c": jnp.full(2, NAN)}}),
    ]
  ]
  marks, _ = split_marks(jax.tree.map(lambda *x: sum(x), *steps))
  assert marks.skipped == 2
  assert tensor_names(GRADS, marks) == ["a", "b/c"]
  assert split_marks(steps[0])[0] is None


@pytest.mark.parametrize(
  ("counted", "grads", "idle"),
  [
    (True, GRADS, 0),
    (True, jax.tree.map(jnp.zeros_like, GRADS), 1),
    (False, jax.tree.map(lambda x: NAN * x, GRADS), 1),  # an empty mini-batch
  ],
)
def test_a_step_without_a_gradient_is_idle_and_not_skipped(
  counted, grads, idle
):
  sound = is_sound(jnp.float32(0.0), grads, grads, None)
  metrics = step_soundness(jnp.array(counted), sound, grads)
  assert (float(metrics[IDLE].total), float(metrics[SKIPPED].total)) == (
    idle,
    0,
  )
