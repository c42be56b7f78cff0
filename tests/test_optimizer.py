"""The learning rate, and what the chain does to parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.control import no_control
from entrojax.optimizer import learning_rate_schedule, make_optimizer

ADAM = {"b1": 0.9, "b2": 0.99, "eps": 1e-8}


def test_the_first_step_of_a_warm_up_already_moves():
  schedule = learning_rate_schedule(
    peak=1.0, warmup_steps=4, decay_steps=0, end_fraction=0.0
  )
  found = [float(schedule(jnp.int32(i))) for i in range(6)]
  np.testing.assert_allclose(found, [0.25, 0.5, 0.75, 1, 1, 1], rtol=1e-6)


def test_the_cosine_ends_at_its_fraction():
  schedule = learning_rate_schedule(
    peak=2.0, warmup_steps=0, decay_steps=10, end_fraction=0.1
  )
  # half-way a cosine from 1 to 0.1 is at 0.55
  found = [float(schedule(jnp.int32(i))) for i in (0, 5, 10, 20)]
  np.testing.assert_allclose(found, [2.0, 1.1, 0.2, 0.2], rtol=1e-6)


def optimizer(**overrides):
  return make_optimizer(
    no_control(),
    lambda step: 0.1,
    **{**ADAM, "weight_decay": 0.0, "max_grad_norm": 1.0, **overrides},
  )


def step(chain, params, grads):
  state = chain.init(params)
  return chain.update(grads, state, params, entropy=jnp.float32(1.0))[0]


def test_the_first_update_of_adam_is_the_learning_rate():
  params = {"kernel": jnp.ones((2, 2))}
  updates = step(optimizer(), params, {"kernel": jnp.full((2, 2), 0.3)})
  np.testing.assert_allclose(updates["kernel"], -0.1, rtol=1e-5)


def test_weight_decay_spares_norms_and_biases():
  params = {
    "norm": {"scale": jnp.ones(2)},
    "q_proj": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones((2, 2))},
  }
  grads = jax.tree.map(jnp.zeros_like, params)
  updates = step(optimizer(weight_decay=0.5), params, grads)
  np.testing.assert_array_equal(updates["norm"]["scale"], 0.0)
  np.testing.assert_array_equal(updates["q_proj"]["bias"], 0.0)
  np.testing.assert_allclose(updates["q_proj"]["kernel"], -0.05, rtol=1e-6)


def test_the_state_is_named():
  state = optimizer().init({"w": jnp.ones(1)})
  assert list(state) == ["control", "clip", "adamw"]


def test_a_learning_rate_of_zero_is_refused():
  with pytest.raises(ValueError, match=r"optimizer\.learning_rate .* got 0"):
    learning_rate_schedule(
      peak=0.0, warmup_steps=0, decay_steps=0, end_fraction=0.0
    )
