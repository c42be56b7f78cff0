"""The learning rate, and the steps that the chain takes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entrojax.assembly.run import build
from entrojax.control import no_control
from entrojax.system.checkpoint import Checkpoints
from entrojax.train import train
from entrojax.types import TrainState
from entrojax.update.optimizer import learning_rate_schedule, make_optimizer
from entrojax.update.train_step import init_state
from tests.helpers.system import tiny_config, write_base

pytestmark = pytest.mark.slow

ADAM = {"b1": 0.9, "b2": 0.99, "eps": 1e-8}


def test_the_first_step_of_a_warm_up_already_moves():
  schedule = learning_rate_schedule(
    peak=1.0, warmup_steps=4, decay_steps=0, end_fraction=0.0
  )
  actual = [float(schedule(jnp.int32(i))) for i in range(6)]
  np.testing.assert_allclose(actual, [0.25, 0.5, 0.75, 1, 1, 1], rtol=1e-6)


def test_the_cosine_ends_at_its_fraction():
  schedule = learning_rate_schedule(
    peak=2.0, warmup_steps=0, decay_steps=10, end_fraction=0.1
  )
  # half-way a cosine from 1 to 0.1 is at 0.55
  actual = [float(schedule(jnp.int32(i))) for i in (0, 5, 10, 20)]
  np.testing.assert_allclose(actual, [2.0, 1.1, 0.2, 0.2], rtol=1e-6)


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


def test_a_first_moment_in_bfloat16_is_rounded_between_steps_only():
  grads = {"kernel": jnp.full((2, 2), 0.3)}
  params = {"kernel": jnp.ones((2, 2))}
  chain = optimizer(b1=0.5, mu_dtype="bfloat16")
  state = chain.init(params)
  for _ in range(2):
    _, state = chain.update(grads, state, params, entropy=jnp.float32(1.0))
  (adam, *_) = state["adamw"]
  assert adam.mu["kernel"].dtype == jnp.bfloat16
  assert adam.nu["kernel"].dtype == jnp.float32
  # 0.5 g, rounded, then 0.5 of that + 0.5 g, rounded; 0.3 has norm 0.6 < 1
  first = float(jnp.bfloat16(0.15))
  second = float(jnp.bfloat16(0.5 * first + 0.15))
  np.testing.assert_array_equal(adam.mu["kernel"].astype(float), second)


def test_an_unknown_type_of_moments_is_refused():
  with pytest.raises(
    ValueError, match=r"optimizer\.mu_dtype must be .* 'int8'"
  ):
    optimizer(mu_dtype="int8")


def test_a_learning_rate_of_zero_is_refused():
  with pytest.raises(ValueError, match=r"optimizer\.learning_rate .* got 0"):
    learning_rate_schedule(
      peak=0.0, warmup_steps=0, decay_steps=0, end_fraction=0.0
    )


def test_moments_in_bfloat16_survive_a_checkpoint(tmp_path):
  chain = optimizer(mu_dtype="bfloat16")
  params, grads = {"w": jnp.ones(3)}, {"w": jnp.asarray([0.1, 0.2, 0.3])}
  state = init_state(params, chain)
  _, opt_state = chain.update(
    grads, state.opt_state, params, entropy=jnp.float32(1.0)
  )
  key = jax.random.key(0)
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1)
  checkpoints.save(1, TrainState(params, opt_state, jnp.int32(1)), key, {})
  checkpoints.wait()
  restored, *_ = checkpoints.restore(state, key)
  checkpoints.close()
  same = jax.tree.map(
    lambda a, b: a.dtype == b.dtype and bool(jnp.all(a == b)),
    restored.opt_state,
    opt_state,
  )
  assert all(jax.tree.leaves(same))


@pytest.mark.usefixtures("session_data", "one_device")
def test_a_run_keeps_its_first_moments_in_bfloat16_with_all_else_there_is(
  tmp_path,
):
  """An adapter is trained, and the projection reads the moments."""
  config = tiny_config(
    write_base(tmp_path / "tiny"),
    **{
      "num_rollout_steps": 1,
      "optimizer.mu_dtype": "bfloat16",
      "objective": ("ppo_clip", "entropy_bonus"),
      "lora.rank": 2,
      "projection.enabled": True,
      "projection.target": 2.0,
    },
  )
  train(config, tmp_path / "run")
  restored, *_ = Checkpoints(tmp_path / "run" / "checkpoints", keep=2).restore(
    build(config).state, jax.random.key(0)
  )
  moments = optax.tree_utils.tree_get(restored.opt_state, "ScaleByAdamState")
  mu, nu = map(jax.tree.leaves, (moments.mu, moments.nu))
  assert {leaf.dtype for leaf in mu} == {jnp.dtype("bfloat16")}
  assert {leaf.dtype for leaf in nu} == {jnp.dtype("float32")}
  assert any(np.any(np.asarray(leaf, np.float32) != 0) for leaf in mu)
