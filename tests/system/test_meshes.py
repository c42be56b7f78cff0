"""A mesh changes no number: three updates, then samples of one policy.

A decoder whose every dimension can be split over eight devices is trained by
Clip-Higher and KL-Cov with a controller and AdamW, and then samples.
"""

import functools

import jax
import numpy as np
import pytest

from entrojax.control import entropic_pi
from entrojax.models import DecoderConfig, decoder
from entrojax.objectives import aggregation, entropic, kl_cov
from entrojax.rollouts.sampler import Sampling, generate, make_sampler
from entrojax.system.sharding import (
  by_row,
  make_mesh,
  param_shardings,
  replicated,
)
from entrojax.types import Prompts
from entrojax.update.train_step import init_state, make_update
from tests.helpers.updates import GROUP_SIZE, make_batch, recording_sgd, totals

pytestmark = pytest.mark.slow

SIZES = DecoderConfig(
  vocab_size=16,
  hidden_size=32,
  intermediate_size=32,
  num_hidden_layers=1,
  num_attention_heads=8,
  num_key_value_heads=2,
  head_dim=8,
)
MESHES = {
  "2 devices": (2, 1, 1),
  "4 devices": (1, 2, 2),
  "8 x 1 x 1": (8, 1, 1),
  "1 x 8 x 1": (1, 8, 1),
  "1 x 1 x 8": (1, 1, 8),
  "2 x 2 x 2": (2, 2, 2),
}
# a sum in another order differs by 1e-16 and 6e-8 of its terms
TOLERANCES = {np.float64: 1e-10, np.float32: 1e-5}
# what rounding could hide in float32 shows in float64, on every mesh
CASES = [*((np.float64, mesh) for mesh in MESHES), (np.float32, "2 x 2 x 2")]


def prompts(num_prompts=8, length=4) -> Prompts:
  rng = np.random.default_rng(1)
  return Prompts(
    tokens=rng.integers(2, SIZES.vocab_size, (num_prompts, length), np.int32),
    mask=np.ones((num_prompts, length), np.float32),
    ids=np.arange(num_prompts, dtype=np.int32),
  )


@functools.cache
def trained(dtype, shape):
  """Return parameters on a mesh after three updates, and numbers to compare."""
  mesh = make_mesh(shape, jax.devices()[: np.prod(shape)])
  model = decoder(SIZES, dtype=dtype, mesh=mesh)
  # Adam would turn a gradient that is pure rounding into a whole step.
  optimizer = recording_sgd(entropic_pi(target=2.0, kp=1.0, ki=0.1), 0.5)
  update = make_update(
    model,
    {
      "kl_cov": kl_cov(fraction=0.04),
      "entropic": entropic(min_probability=0.1),
    },
    aggregation.token_mean,
    optimizer,
    group_size=GROUP_SIZE,
    on_policy=False,  # otherwise all ratios would be 1
    mesh=mesh,
  )
  params = jax.jit(model.init)(jax.random.key(0))
  params = jax.tree.map(lambda x: np.asarray(x, dtype), params)
  state = init_state(params, optimizer)
  shardings = param_shardings(mesh, state)
  update = jax.jit(update, out_shardings=(shardings, replicated(mesh)))
  state = jax.device_put(state, shardings)
  batch = jax.device_put(make_batch(0, dtype, SIZES.vocab_size), by_row(mesh))
  losses = []
  for i in range(3):
    state, metrics = update(state, None, batch, jax.random.key(i))
    losses.append(totals(metrics)["actor/loss"])
  gradients = state.opt_state["record"]
  moved = jax.tree.map(lambda x, y: x - y, state.params, params)
  return state.params, jax.device_get(
    {
      "losses": np.stack(losses),
      "gradients": flat(gradients),
      "params": flat(state.params),
      "moved": flat(moved),
      "integral": state.opt_state["control"].integral,
    }
  )


def flat(tree):
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


@functools.cache
def sampled(shape):
  """Sample responses of the policy trained on one device, i32[B, L]."""
  mesh = make_mesh(shape, jax.devices()[: np.prod(shape)])
  sample = jax.jit(
    functools.partial(
      generate,
      decoder(SIZES, mesh=mesh),
      sampling=Sampling(
        group_size=GROUP_SIZE,
        response_length=8,
        eos_ids=(1,),
        pad_id=0,
        sampler=make_sampler(),
      ),
    ),
    out_shardings=by_row(mesh),
  )
  rows = jax.device_put(prompts(), by_row(mesh))
  params, _ = trained(np.float32, (1, 1, 1))
  params = jax.device_put(params, param_shardings(mesh, params))
  return jax.device_get(sample(params, rows, jax.random.key(7)).tokens)


@pytest.mark.parametrize(("dtype", "mesh"), CASES)
def test_a_mesh_changes_no_update(dtype, mesh):
  with jax.enable_x64(dtype is np.float64):
    expected = trained(dtype, (1, 1, 1))[1]
    actual = trained(dtype, MESHES[mesh])[1]
  assert actual["params"].dtype == dtype
  for name, value in expected.items():
    error = np.linalg.norm(actual[name] - value) / np.linalg.norm(value)
    assert error < TOLERANCES[dtype], name


@pytest.mark.parametrize("mesh", MESHES)
def test_a_mesh_changes_no_sample_of_the_trained_policy(mesh):
  np.testing.assert_array_equal(sampled(MESHES[mesh]), sampled((1, 1, 1)))


def test_the_comparison_has_something_to_compare():
  _, run = trained(np.float32, (1, 1, 1))
  assert np.linalg.norm(run["moved"]) > 1e-2 * np.linalg.norm(run["params"])
  assert len(np.unique(run["losses"])) == 3
  assert abs(run["integral"]) > 1e-3
  assert len(np.unique(sampled((1, 1, 1))[:, 4:])) > 4
