"""The figures that a rehearsal reads from programs, and its error messages.

Compiling for a TPU needs libtpu, which is an optional package. These tests use
programs for the CPU.
"""

import functools

import jax
from jax import P
import jax.numpy as jnp
import numpy as np
import pytest

from configs import qwen25_7b_dapo, qwen25_32b_kl_cov
from entrojax.assembly import rematerialisation
from entrojax.assembly.check_rows import check_divisibility
from entrojax.assembly.check_settings import check
from entrojax.assembly.lowering import trace_update
from entrojax.assembly.methods import make_recipe
from entrojax.assembly.model import make_model
from entrojax.entropy.token_stats import token_stats
from entrojax.models import fused
from entrojax.system.sharding import make_mesh
from experiments import (
  chips,
  hlo,
  length_buckets,
  measured,
  parts,
  rehearse,
  scale,
  step_time,
)
from tests.helpers.system import SIZES

pytestmark = pytest.mark.slow


def gather_in_a_loop(mesh, times):
  """Compile a loop that gathers f32[8, 4] in each turn."""

  @functools.partial(
    jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P("data")
  )
  def run(x):
    def turn(i, x):
      whole = jax.lax.all_gather(x * i, "data", tiled=True)
      return x + jnp.sum(whole)

    return jax.lax.fori_loop(0, times, turn, x)

  return jax.jit(run).lower(jnp.ones((8, 4))).compile()


def test_a_collective_counts_as_often_as_its_loop_runs():
  mesh = make_mesh((8, 1, 1))
  program = hlo.read(gather_in_a_loop(mesh, 5).as_text())
  assert program.collectives["all-gather"] == 5 * 8 * 4 * 4


def test_the_largest_array_is_found():
  compiled = jax.jit(lambda x: jnp.sum(jnp.sort(x.T, axis=0), axis=1))
  text = compiled.lower(jnp.ones((30, 50))).compile().as_text()
  name, size = hlo.read(text).largest
  assert name in ("f32[30,50]", "f32[50,30]")
  assert size == 30 * 50 * 4


def test_cycles_count_as_often_as_they_are_spent_and_bear_their_origin():
  text = """HloModule m
%turn (x: f32[4]) -> f32[4] {
  ROOT %a = f32[4]{0} add(%x, %x), metadata={op_name="jit(f)/while/body/layer/add"}, backend_config={"estimated_cycles":"7"}
}
%test (x: f32[4]) -> pred[] {
  ROOT %t = pred[] constant(true)
}
ENTRY %main (x: f32[4]) -> f32[4] {
  %w = f32[4]{0} while(%x), condition=%test, body=%turn, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %c = f32[4]{0} copy(%w), backend_config={"estimated_cycles":"9"}
}
"""  # noqa: E501
  program = hlo.read(text)
  assert program.cycles == 5 * 7 + 9
  assert program.dearest == {"layer/add": 35, "made by the compiler": 9}


def test_a_branch_counts_by_its_share_of_the_calls():
  branch = """%{0} (x: f32[4]) -> f32[4] {{
  ROOT %a = f32[4]{{0}} add(%x, %x), backend_config={{"estimated_cycles":"{1}"}}
}}
"""
  text = f"""HloModule m
{branch.format("short", 10)}{branch.format("long", 30)}
ENTRY %main (x: f32[4]) -> f32[4] {{
  ROOT %c = f32[4]{{0}} conditional(%i, %x, %x), branch_computations={{%short, %long}}
}}
"""  # noqa: E501
  assert hlo.read(text).cycles == 10 + 30
  assert hlo.read(text, (0.25, 0.75)).cycles == 25
  assert (
    hlo.read(text, (0.2, 0.3, 0.5)).cycles == 10 + 30
  )  # of other conditions


def test_products_count_as_often_as_they_run():
  def run(x, w):
    x, _ = jax.lax.scan(lambda x, w: (x @ w, None), x, w)
    return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x.T, lambda x: x @ x.T, x)

  jaxpr = jax.make_jaxpr(run)(jnp.ones((2, 3)), jnp.ones((7, 3, 3))).jaxpr
  assert hlo.flops(jaxpr).total == 7 * 2 * (2 * 3 * 3) + 2 * (2 * 3 * 2)


def test_products_of_branches_count_by_their_shares():
  def run(which, x):
    once, twice = lambda x: x @ x, lambda x: x @ x @ x
    return jax.lax.switch(which, [once, twice, twice], x)

  jaxpr = jax.make_jaxpr(run)(0, jnp.ones((5, 5))).jaxpr
  product = 2 * 5**3
  assert hlo.flops(jaxpr).total == 2 * product
  shares = (0.5, 0.25, 0.25)
  assert hlo.flops(jaxpr, shares=shares).total == 1.5 * product


def test_lengths_have_the_mean_that_is_asked_for():
  lengths = step_time.response_lengths(20_000, 150.0, 512)
  assert lengths.min() >= 1
  assert lengths.max() == 512
  # rounding up adds half a token; the standard error is about 1
  assert lengths.mean() == pytest.approx(150.5, abs=4)


@pytest.mark.parametrize("command", [rehearse, length_buckets])
def test_a_mean_length_that_no_responses_have_is_refused(command, capsys):
  flag = "mean_length" if command is rehearse else "mean_lengths"
  with pytest.raises(SystemExit) as ended:
    command.main(["--config=configs/countdown.py:test", f"--{flag}=13"])
  assert ended.value.code == 2
  message = f"--{flag}=13 must lie in (0, rollout.response_length = 12]"
  assert message in capsys.readouterr().err


def test_long_responses_fill_few_micro_batches():
  config = qwen25_7b_dapo.get_config()
  mesh = make_mesh((1, 1, 8))
  assert step_time.bucket_shares(config, mesh, 1000.0) == ()
  config.training.response_buckets = (5120,)
  short, long = step_time.bucket_shares(config, mesh, 1000.0)
  # one row of 170 is longer, so 3 of the 512 of a mini-batch on average: nearly
  # always one of its 8 micro-batches
  assert long == pytest.approx(1 / 8, abs=0.02)
  assert short == 1 - long


def test_products_that_nothing_reads_are_not_needed():
  def run(x, ws):
    x, _ = jax.lax.scan(lambda x, w: (x @ w, x.T @ x), x, ws)
    return x

  jaxpr = jax.make_jaxpr(run)(jnp.ones((2, 3)), jnp.ones((7, 3, 3)))
  assert hlo.flops(jaxpr).total == 7 * 2 * (2 * 3 * 3 + 3 * 2 * 3)
  assert hlo.needed_flops(jaxpr).total == 7 * 2 * (2 * 3 * 3)


def test_products_on_a_mesh_count_on_every_device():
  mesh = make_mesh((8, 1, 1))
  run = jax.shard_map(
    lambda x, w: x @ w,
    mesh=mesh,
    in_specs=(P("data"), P()),
    out_specs=P("data"),
  )
  jaxpr = jax.make_jaxpr(run)(jnp.ones((16, 3)), jnp.ones((3, 5))).jaxpr
  assert hlo.flops(jaxpr).total == 2 * 16 * 3 * 5


def test_kernels_count_on_the_blocks_that_they_do_not_skip(monkeypatch):
  monkeypatch.setattr(fused, "_BLOCK", 128)
  batch, heads, queries, keys, width = 3, 4, 256, 384, 64
  of = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
  ids = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.int32)

  def run(q, k, v, seen):
    attend = jax.checkpoint(functools.partial(fused.attend, None))
    turns = jax.lax.map(lambda q: jnp.sum(attend(q, k, v, seen)), q)
    return jnp.sum(turns)

  jaxpr = jax.make_jaxpr(jax.grad(run, (0, 1, 2)))(
    of(5, batch, heads, queries, width),
    *[of(batch, 2, keys, width)] * 2,
    fused.Examples(ids(batch, queries), ids(batch, keys)),
  )
  block = 2 * 128 * 128 * width  # one product
  blocks = 2 + 3  # of 2 x 3: those that the queries of slots 128 to 383 see
  products = 2 + 2 + 5  # forward, that again, and backward
  count = hlo.flops(jaxpr)
  assert count.kernels == 5 * batch * heads * products * blocks * block
  # outside of kernels: one product of each query's output and its gradient
  outside = 5 * batch * heads * queries * 2 * width
  assert count.total == count.kernels + outside


def test_calls_of_kernels_are_told_since_none_has_an_estimate():
  text = """HloModule m
%turn (x: f32[4]) -> f32[4] {
  ROOT %a = f32[4]{0} custom-call(%x), custom_call_target="tpu_custom_call", backend_config={}
}
%test (x: f32[4]) -> pred[] {
  ROOT %t = pred[] constant(true)
}
ENTRY %main (x: f32[4]) -> f32[4] {
  ROOT %w = f32[4]{0} while(%x), condition=%test, body=%turn, backend_config={"known_trip_count":{"n":"5"}}
}
"""  # noqa: E501
  assert hlo.read(text).num_kernels == 5
  part = measured.Measured(
    seconds=1.0,
    peak=1e9,
    arguments=1e9,
    temporaries=0,
    program=hlo.read(text),
    flops=500e12,
    kernel_flops=459e12,
  )
  # a v5p computes 459 T per second
  expected = "5 calls of kernels, at least 1.000 s of products"
  assert expected in measured.describe(part, chips.CHIPS["v5p"])


def test_both_ways_to_make_statistics_are_compared_on_the_same_numbers(
  monkeypatch, capsys
):
  monkeypatch.setattr(scale, "VOCABULARY", 300)
  monkeypatch.setattr(scale, "WIDTH", 8)
  rng = np.random.default_rng(0)
  arguments = (
    np.float32(rng.normal(size=(1, 64, 8))),
    np.float32(rng.normal(size=(300, 8))),
    np.int32(rng.integers(0, 300, (1, 64))),
    np.float32(rng.normal(size=(2, 1, 64))),
  )
  chunked = functools.partial(token_stats, chunk_elements=64 * 128)
  (plain, flops), (ours, our_flops) = (
    scale.statistics_graph(stats, 64) for stats in (scale.naive_stats, chunked)
  )
  jax.tree.map(
    # float32 sums of 300 terms, in another order
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    plain(*arguments),
    ours(*arguments),
  )
  # logits once, and two gradients of them; chunks of 128 rows are made twice
  assert flops == 3 * 2 * 64 * 300 * 8
  assert our_flops == 4 * 2 * 64 * 3 * 128 * 8
  scale.statistics_memory(64)
  assert "with all six" in capsys.readouterr().out


@pytest.fixture(scope="module")
def config():
  """Return the settings of the paper's run, with small sizes."""
  config = qwen25_7b_dapo.get_config()
  check(config)
  config.model.update({"dtype": "float32", "fused_attention": False})
  config.rollout.update(
    {
      "num_prompts": 16,
      "group_size": 2,
      "prompt_length": 4,
      "response_length": 8,
      "num_slots": 16,
    }
  )
  config.training.update({"updates_per_rollout": 2, "num_microbatches": 2})
  config.advantage = ("grpo",)
  return config


@pytest.mark.parametrize("rank", [0, 2])
def test_all_parts_compile_from_shapes_alone(config, rank, capsys):
  config = config.copy_and_resolve_references()
  config.lora.rank = rank
  mesh, recipe = make_mesh((2, 2, 2)), make_recipe(config)
  chip = chips.CHIPS["v5p"]
  results = rehearse.rehearse(
    config, recipe, SIZES, mesh, chip, list(parts.PARTS), 4.0
  )
  assert results.keys() == parts.PARTS.keys()
  assert results["refilling"].flops == 0  # it copies
  assert results["decoding"].flops > 0
  # reading the 4 tokens of 16 prompts, and one token of 16 slots
  assert results["reading"].flops > results["decoding"].flops
  printed = capsys.readouterr().out
  assert printed.count("% of 102.01 GB") == 4
  assert "all-gather" in printed


def test_a_step_of_all_rows_reads_a_prompt_once_and_what_is_filled(config):
  config = config.copy_and_resolve_references()
  config.rollout.update(
    {"prompt_length": 64, "response_length": 512, "num_slots": 32}
  )
  assert parts.names(config) == {"update", "reading", "decoding"}
  mesh, recipe = make_mesh((1, 1, 1), jax.devices()[:1]), make_recipe(config)
  model = make_model(config, SIZES, mesh)
  by_name = parts.parts_of_step(config, recipe, model, mesh, 200.0)
  assert by_name.keys() == parts.names(config)
  decoding = by_name["decoding"]
  assert decoding.shares == (0.25, 0.25, 0.25, 0.25)  # 512 steps, 4 lengths
  # keys and values of 32 rows; all but (1 + ... + 512) / 512 places are unread
  width = SIZES.num_key_value_heads * SIZES.head_dim
  cache = 2 * 4 * SIZES.num_hidden_layers * 32 * 512 * width
  assert decoding.unread == pytest.approx(cache * (1 - 256.5 / 512))
  result = measured.measure(decoding, "cpu", 1)
  before = 2 * 4 * SIZES.num_hidden_layers * 16 * 64 * width
  assert result.unread == decoding.unread
  # and outputs and positions; parameters and the rest are small
  least = cache + before + 5 * 4 * 32 * 512
  assert least < result.arguments < least + before / 2


def test_slots_are_a_ring_behind_their_prompt_that_is_filled_once():
  config = qwen25_7b_dapo.get_config()
  config.rollout.update(
    {
      "num_prompts": 2,
      "group_size": 2,
      "prompt_length": 100,
      "response_length": 4,
      "num_slots": 2,
    }
  )
  # 4 responses of 3 tokens in 2 slots, and one more token of a longest one
  filled = step_time.filling(config, 3)
  np.testing.assert_array_equal(filled, [101, 102, 103, 104, 104, 104, 104])
  config.rollout.num_slots = 4  # a slot for all, and prompts that are shared
  np.testing.assert_array_equal(step_time.filling(config, 3), [1, 2, 3, 4])
  config.rollout.prompt_length = 5  # copied in front of each response
  np.testing.assert_array_equal(step_time.filling(config, 3), [6, 7, 8, 9])


def test_the_seconds_of_a_step_are_those_of_its_parts():
  config = qwen25_7b_dapo.get_config()
  config.rollout.update(
    {
      "num_prompts": 4,
      "group_size": 8,
      "response_length": 100,
      "num_slots": 16,
      "refill_every": 10,
    }
  )
  # 32 responses of 30 tokens in 16 slots, and the rest of a longest one
  steps = 32 * 30 / 16 + 100 - 30
  assert step_time.counts(config, 30) == (steps, 1 + steps / 10)
  part = lambda cycles, kernels=0.0: measured.Measured(
    *(0, 0, 1e9, 0, hlo.Program({"all-reduce": 2}, cycles, {}, ("", 0), 0)),
    flops=4e12,
    kernel_flops=kernels,
  )
  chip = chips.Chip(memory=1, flops=1e12, bandwidth=1e9, links=1, clock=10)
  by_name = {
    "reading": part(10),
    "refilling": part(20),
    "decoding": part(30),
    "update": part(40, 5e12),
  }
  time = step_time.step_time(by_name, config, 30, lambda p: p.by_cycles(chip))
  assert time == (1, (1 + steps / 10) * 2, steps * 3, 4 + 5)
  assert time.rollout == time.total - 9
  # products take 4 s, links 2 s, and the arguments 1 s
  assert by_name["update"].by_roofline(chip) == 4
  assert step_time.utilisation(by_name["update"], 3e12, chip) == 3 / 9
  text = step_time.describe(by_name, config, chip, 30)
  assert f"{time.total:,.1f} s" in text
  assert f"{960 / time.rollout:,.0f} tokens per second" in text


def test_useful_flops_count_no_product_twice(config):
  mesh, recipe = make_mesh((1, 1, 1), jax.devices()[:1]), make_recipe(config)
  useful = rehearse.useful_flops(config, recipe, SIZES, mesh, 1.0)
  kept = rematerialisation.Choice(True, True)
  config = rematerialisation.with_choice(config, kept)
  model = make_model(config, SIZES, mesh)  # a layer is made three times
  whole = hlo.flops(trace_update(config, recipe, model, mesh).jaxpr).total
  kept = rematerialisation.Choice(True, "layers")  # twice
  config = rematerialisation.with_choice(config, kept)
  model = make_model(config, SIZES, mesh)
  less = hlo.flops(trace_update(config, recipe, model, mesh).jaxpr).total
  assert useful < less < whole


@pytest.mark.parametrize(
  ("module", "preset", "num_devices"),
  [
    (qwen25_7b_dapo, "", 64),
    (qwen25_7b_dapo, "v5e", 256),
    (qwen25_7b_dapo, "long", 64),
    (qwen25_32b_kl_cov, "", 256),
  ],
)
def test_the_rows_of_a_pod_s_config_divide_over_its_slice(
  module, preset, num_devices
):
  config = module.get_config(*[preset] * bool(preset))
  check(config)
  data, fsdp, tensor = config.mesh
  assert fsdp == -1
  check_divisibility(config, num_devices // tensor)
  # a key-value head lies on one device, or a cache is copied
  heads = rehearse.sizes_of(config.model.path).num_key_value_heads
  assert data == 1
  assert heads % tensor == 0


def test_an_unknown_preset_is_named():
  with pytest.raises(ValueError, match="no preset 'v9'"):
    qwen25_7b_dapo.get_config("v9")


def test_an_unknown_model_or_chip_is_named():
  with pytest.raises(ValueError, match=r"Qwen9-1T is not a folder"):
    rehearse.sizes_of("models/Qwen9-1T")
  with pytest.raises(ValueError, match=r"--topology=v99:2x2.*v5p"):
    chips.topology_devices("v99:2x2")
