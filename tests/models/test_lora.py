"""Adapters start at the base, and merge into plain weights."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.assembly.run import build
from entrojax.entropy.token_stats import unembed
from entrojax.export import export
from entrojax.models import Lora, decoder, hugging_face, lora
from entrojax.system.sharding import make_mesh, param_shardings
from entrojax.train import train
from tests.helpers.system import SIZES, numbers, tiny_config

pytestmark = pytest.mark.slow

LORA = Lora(rank=3, alpha=6.0, projections=("q_proj", "o_proj", "up_proj"))


@functools.partial(jax.jit, static_argnums=0)
def logits_of(model, params):
  """Return the logits of one row of tokens."""
  tokens = jnp.arange(3, 11)[None]
  hidden, _ = model.apply(params, tokens, jnp.arange(8)[None])
  return unembed(hidden, model.unembedding(params))


def moved(adapter):
  """Return the adapter plus noise, so that B is not 0."""
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: x + np.float32(0.3 * rng.normal(size=x.shape)), adapter
  )


def test_an_adapter_begins_at_its_base_and_merges_into_what_it_has_become(base):
  _, params = hugging_face.load(base)
  adapted = decoder(SIZES, lora=LORA)
  adapter = jax.jit(lora.on_base(adapted, params).init)(jax.random.key(0))
  plain = logits_of(decoder(SIZES), params)
  start = logits_of(adapted, lora.join(params, adapter))
  np.testing.assert_array_equal(start, plain)
  adapter = moved(adapter)
  result = logits_of(adapted, lora.join(params, adapter))
  assert np.max(np.abs(result - plain)) > 1e-3
  merged = lora.merge(params, adapter, LORA)
  # float32 sums in another order; logits are below 1
  np.testing.assert_allclose(
    result, logits_of(decoder(SIZES), merged), rtol=1e-5, atol=1e-6
  )


def test_merging_adds_alpha_over_rank_times_a_b():
  a = np.array([[[1.0, 2.0]], [[3.0, 0.0]]], np.float32)  # 2 layers of [1, 2]
  b = np.array([[[10.0], [1.0]], [[2.0], [5.0]]], np.float32)
  adapter = {"layers": {"q_proj": {"lora_a": a, "lora_b": b}}}
  kernel = np.full((2, 1, 1), 0.5, np.float32)
  params = {"layers": {"q_proj": {"kernel": kernel}, "norm": kernel}}
  merged = lora.merge(params, adapter, Lora(2, 3.0, ("q_proj",)))
  # 0.5 + 3 / 2 * (1 * 10 + 2 * 1) and 0.5 + 3 / 2 * (3 * 2)
  expected = [[[18.5]], [[9.5]]]
  np.testing.assert_array_equal(merged["layers"]["q_proj"]["kernel"], expected)
  assert merged["layers"]["norm"] is kernel


def test_splitting_and_joining_are_inverse():
  shapes = jax.eval_shape(decoder(SIZES, lora=LORA).init, jax.random.key(0))
  without, adapter = lora.split(shapes)
  plain = jax.eval_shape(decoder(SIZES).init, jax.random.key(0))
  assert without == plain
  assert lora.join(without, adapter) == shapes
  names = {
    jax.tree_util.keystr(path, simple=True, separator="/")
    for path, _ in jax.tree_util.tree_leaves_with_path(adapter)
  }
  assert names == {
    f"layers/{module}/lora_{part}"
    for module in ("self_attn/q_proj", "self_attn/o_proj", "mlp/up_proj")
    for part in "ab"
  }


def test_an_adapter_is_split_as_its_projection_is():
  everywhere = Lora(2, 1.0, lora.PROJECTIONS)
  shapes = jax.eval_shape(
    decoder(SIZES, lora=everywhere).init, jax.random.key(0)
  )
  placed = param_shardings(make_mesh((2, 2, 2)), shapes)["layers"]
  for part, name in (("self_attn", "q_proj"), ("mlp", "down_proj")):
    rows, columns = placed[part][name]["kernel"].spec[1:]
    assert tuple(placed[part][name]["lora_a"].spec) == (None, rows)
    assert tuple(placed[part][name]["lora_b"].spec) == (None, None, columns)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ((-1, 1.0, ("q_proj",)), r"lora\.rank must be at least 1, got -1"),
    ((2, 0.0, ("q_proj",)), r"lora\.alpha must be above 0, got 0"),
    ((2, 1.0, ("q_prj",)), r"lora\.projections = \('q_prj',\) must be some of"),
    ((2, 1.0, ()), r"lora\.projections = \(\) must be some of"),
  ],
)
def test_an_adapter_that_cannot_work_is_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    Lora(*settings)


@pytest.mark.usefixtures("session_data", "one_device")
def test_a_run_trains_the_adapter_alone_and_its_export_is_the_whole_policy(
  base, tmp_path
):
  config = tiny_config(
    base,
    **{
      "num_rollout_steps": 1,
      "lora.rank": 2,
      "objective": ("ppo_clip", "reference_kl"),
      "optimizer.learning_rate": 0.01,
    },
  )
  start = build(config)
  adapter = Lora(2, config.lora.alpha, tuple(config.lora.projections))
  assert lora.split(start.state.params)[0] == {}
  _, params = hugging_face.load(base)
  # the reference is the base: its adapter adds nothing
  jax.tree.map(
    np.testing.assert_array_equal,
    lora.merge(params, start.ref_params, adapter),
    params,
  )
  train(config, tmp_path / "run")
  (step,) = [row for row in numbers(tmp_path / "run") if "actor/loss" in row]
  assert step["rollout/log_prob_diff_max"] < 1e-4
  assert step["actor/grad_norm"] > 0
  for dtype in ("float32", "bfloat16"):
    assert export(tmp_path / "run", tmp_path / dtype, dtype=dtype) == 1
  sizes, result = hugging_face.load(tmp_path / "float32")
  assert sizes == SIZES
  changed = {
    jax.tree_util.keystr(path, simple=True, separator="/")
    for path, same in jax.tree_util.tree_leaves_with_path(
      jax.tree.map(lambda a, b: bool(np.all(a == b)), result, params)
    )
    if not same
  }
  assert changed == {
    f"layers/{'mlp' if name[0] in 'gud' else 'self_attn'}/{name}/kernel"
    for name in lora.PROJECTIONS
  }
  raw = json.loads((tmp_path / "bfloat16" / "config.json").read_text())
  assert raw["torch_dtype"] == "bfloat16"
