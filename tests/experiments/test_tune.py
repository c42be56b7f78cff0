"""The search of settings compiles what can be best, and each part once."""

import jax
import pytest

from configs import colab
from entrojax.assembly.methods import make_recipe
from experiments import chips, tune
from experiments.tune import Estimate
from tests.helpers.system import SIZES

CHIP = chips.Chip(memory=1000, flops=1, bandwidth=1, links=1, clock=1)


@pytest.fixture
def config():
  config = colab.get_config("qwen3_0_6b")
  config.model.dtype = "float32"
  config.model.fused_attention = False
  config.rollout.update(
    {"num_prompts": 8, "group_size": 2, "response_length": 10}
  )
  return config


def search(config, path, monkeypatch, needs, num_devices=1, mean_length=5.0):
  """Search with a compiler whose answers are given.

  Args:
    config: the settings.
    path: the file of estimates.
    monkeypatch: replaces the compiler.
    needs: (part, config) -> Estimate.
    num_devices: devices of the slice.
    mean_length: the mean length of a response, tokens.

  Returns:
    The results, and the parts that were compiled, with their settings.
  """
  compiled = []

  def compile_part(self, name, config, mesh):
    kept = (config.model.rematerialise, config.training.rematerialise)
    number = config.training.num_microbatches
    of_part = (number, kept) if name == "update" else config.rollout.num_slots
    compiled.append((name, of_part))
    return needs(name, config)

  monkeypatch.setattr(tune.Compiler, "_compile", compile_part)
  compiler = tune.Compiler(
    path, "v5e:1x1", CHIP, make_recipe(config), SIZES, mean_length
  )
  devices = jax.devices()[:num_devices]
  return tune.search(compiler, config, devices, 1), compiled


def of_slots(name, config):
  """Need 100 bytes for a slot; an update needs 800 over its micro-batches."""
  if name != "update":
    return Estimate(100.0 * config.rollout.num_slots, 2.0)
  passes = {False: 1, "layers": 2, True: 2 + config.model.rematerialise}
  number = config.training.num_microbatches
  # what is kept of all micro-batches does not depend on their number
  size = {False: 2000.0, "layers": 500.0 + 800 / number, True: 2400 / number}
  kept = config.training.rematerialise
  return Estimate(size[kept], 10.0 * passes[kept] + number)


def test_what_cannot_be_best_is_not_compiled(config, tmp_path, monkeypatch):
  results, compiled = search(config, tmp_path / "f", monkeypatch, of_slots)
  rollout = [part for part in compiled if part[0] == "decoding"]
  assert rollout == [("decoding", 16), ("decoding", 8)]  # 8 leave a tenth free
  updates = [part[1] for part in compiled if part[0] == "update"]
  assert updates == [
    # never fits; 2, 4, 8, 16 of 16 rows
    *[(number, (False, False)) for number in (2, 4, 8, 16)],
    *[(number, (True, "layers")) for number in (2,)],  # 900 bytes
    # one more forward pass, so only fewer micro-batches could be better
    (1, (False, True)),
    (1, (True, True)),
  ]
  (best,) = results
  assert (best.num_slots, best.num_microbatches) == (8, 2)
  assert best.kept == (True, "layers")
  steps = 16 * 5 / 8 + 10 - 5
  refills = 1 + steps / config.rollout.refill_every
  assert best.rollout == 2 * (steps + refills + 1)
  assert best.update == 10 * 2 + 2
  assert "1x1x1" in tune.describe(results)


def test_a_search_goes_on_from_its_file(config, tmp_path, monkeypatch):
  path = tmp_path / "estimates.jsonl"
  first, compiled = search(config, path, monkeypatch, of_slots)
  again, more = search(config, path, monkeypatch, of_slots)
  assert (again, more) == (first, [])
  assert len(path.read_text().splitlines()) == len(compiled)
  path.write_text(path.read_text()[:-20])  # the last line was cut off
  again, more = search(config, path, monkeypatch, of_slots)
  assert (again, more) == (first, compiled[-1:])
  config.rollout.group_size = 4  # every part depends on it
  _, more = search(config, path, monkeypatch, of_slots)
  assert {name for name, _ in more} == {name for name, _ in compiled}


def test_the_number_of_slots_does_not_concern_the_update(
  config, tmp_path, monkeypatch
):
  path = tmp_path / "estimates.jsonl"
  search(config, path, monkeypatch, of_slots)
  config.rollout.refill_every += 1
  _, more = search(config, path, monkeypatch, of_slots)
  assert {name for name, _ in more} == {"decoding", "refilling"}


@pytest.mark.parametrize(
  ("buckets", "parts"), [((), {"decoding"}), ((4,), {"decoding", "update"})]
)
def test_the_length_of_responses_concerns_the_parts_that_follow_it(
  buckets, parts, config, tmp_path, monkeypatch
):
  config.training.response_buckets = buckets
  path = tmp_path / "estimates.jsonl"
  search(config, path, monkeypatch, of_slots)
  _, more = search(config, path, monkeypatch, of_slots, mean_length=3.0)
  assert {name for name, _ in more} == parts


def test_meshes_split_only_whole_heads():
  assert SIZES.num_key_value_heads == 2
  assert tune.meshes(8, 1, SIZES) == [(1, 8, 1), (1, 4, 2)]
  assert tune.meshes(8, 2, SIZES) == [(2, 4, 1), (2, 2, 2)]


def test_nothing_that_fits_is_said(config, tmp_path, monkeypatch):
  results, _ = search(
    config, tmp_path / "f", monkeypatch, lambda *_: Estimate(None)
  )
  assert results == []
  assert "no settings leave a tenth" in tune.describe(results)


def test_micro_batches_of_a_method_are_not_varied(
  config, tmp_path, monkeypatch
):
  config.training.scope = "micro"
  with pytest.raises(ValueError, match=r"training\.scope"):
    search(config, tmp_path / "f", monkeypatch, of_slots)
