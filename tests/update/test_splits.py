"""An update gives the same numbers on any split and mesh.

Two updates of the tiny decoder are compared with the same two on one device and
in one micro-batch.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.control import entropic_pi, no_control
from entrojax.models import decoder
from entrojax.objectives import (
  entropic,
  entropy_bonus,
  ppo_clip,
  reference_kl,
)
from tests.helpers.updates import BOTH, SPLITS, Setting, difference

pytestmark = pytest.mark.slow

TARGET = 0.5

EVERYTHING = {
  "ppo_clip": ppo_clip(clip_high=0.28, dual_clip=3.0),
  "entropic": entropic(min_probability=0.3),
  "reference_kl": reference_kl(kl_coef=0.1),
  "entropy_bonus": entropy_bonus(entropy_coef=0.05),
}

# Metrics that are float64 if the tokens are. The others are float32 scalars.
EXACT = ("actor/entropy", "actor/ppo_kl", "actor/pg_loss", "actor/kl_loss")


def decoder_setting(sizes, params, members, controller, dtype, depth):
  """Build a setting with the first `depth` layers of a decoder."""
  layers = jax.tree.map(lambda x: x[:depth], params["layers"])
  params = {**params, "layers": layers}
  sizes = dataclasses.replace(sizes, num_hidden_layers=depth)
  return Setting(
    decoder(sizes, dtype=dtype),
    jax.tree.map(lambda x: jnp.asarray(x, dtype), params),
    members,
    controller,
  )


@pytest.fixture(scope="module")
def setting32(sizes, tiny_model):
  controller = entropic_pi(target=TARGET)
  setting = decoder_setting(
    sizes, tiny_model[1], EVERYTHING, controller, jnp.float32, depth=1
  )
  return setting, setting.after_two_updates()


@pytest.fixture(scope="module")
def setting64(sizes, tiny_model):
  with jax.enable_x64(True):
    controller = entropic_pi(target=TARGET)
    setting = decoder_setting(
      sizes, tiny_model[1], EVERYTHING, controller, jnp.float64, depth=2
    )
    return setting, setting.after_two_updates()


@pytest.fixture(scope="module")
def ppo64(sizes, tiny_model):
  with jax.enable_x64(True):
    members = {"ppo_clip": ppo_clip()}
    setting = decoder_setting(
      sizes, tiny_model[1], members, no_control(), jnp.float64, depth=1
    )
    return setting, setting.after_two_updates()


def test_the_comparison_has_something_to_compare(setting64):
  _, expected = setting64
  metrics = expected["metrics"]
  assert expected["gradients"]["embed_tokens"].dtype == np.float64
  assert abs(metrics["actor/ppo_kl"]) > 0.01
  assert 0 < metrics["actor/pg_clipfrac"] < 1
  assert 0.1 < metrics["entropic/touched"] < 0.9
  assert 0.1 < abs(metrics["control/coefficient"]) < 1
  assert metrics["actor/kl_loss"] > 1e-3
  assert metrics["actor/grad_norm"] > 1e-2


# float64 sums in another order differ by 1e-15. The controller's signal is
# float32, but rounded from numbers that differ by as little.


@pytest.mark.parametrize("split", SPLITS)
def test_splits_and_meshes_change_nothing_in_float64(split, setting64):
  setting, expected = setting64
  with jax.enable_x64(True):
    actual = setting.after_two_updates(**SPLITS[split])
  assert difference(actual, expected, EXACT) < 1e-10


def test_splits_and_meshes_do_not_change_plain_ppo(ppo64):
  setting, expected = ppo64
  with jax.enable_x64(True):
    actual = setting.after_two_updates(**BOTH)
  assert difference(actual, expected, EXACT[:3]) < 1e-10


# float32 rounds by 6e-8; two updates accumulate that.


def test_splits_and_meshes_change_only_rounding_in_float32(setting32):
  setting, expected = setting32
  actual = setting.after_two_updates(**BOTH)
  assert difference(actual, expected) < 1e-5


@pytest.mark.parametrize(
  "options",
  [
    {"num_microbatches": 2, "rematerialise": True},
    {"num_microbatches": 2, "rematerialise": "layers"},
    {"num_microbatches": 2, "rematerialise": "attention"},
    {"num_microbatches": 2, "rematerialise": False},
    {"group_size": 1},
  ],
)
def test_how_activations_are_kept_changes_only_rounding(options, setting32):
  setting, expected = setting32
  assert difference(setting.after_two_updates(**options), expected) < 1e-5
