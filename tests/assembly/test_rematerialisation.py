"""What the backward pass keeps is chosen by memory, once for a run."""

import json

import jax
import pytest

from configs import sft
from entrojax import train
from entrojax.assembly import rematerialisation
from entrojax.assembly.check_settings import check
from entrojax.assembly.check_sft import check_sft
from entrojax.assembly.methods import make_recipe
from entrojax.assembly.model import make_model
from entrojax.assembly.rematerialisation import Choice
from entrojax.models.kept import OF_A_LAYER, OF_MICROBATCHES
from entrojax.system.sharding import make_mesh
from tests.helpers.system import SIZES, tiny_config, write_base

BOTH = {"model.rematerialise": "auto", "training.rematerialise": "auto"}
KEPT = [
  Choice(False, False),
  Choice(True, "layers"),
  Choice(False, True),
  Choice(True, True),
]
MEMORY = 1000.0


@pytest.fixture
def config(tmp_path):
  settings = {**BOTH, "training.num_microbatches": 2}
  return tiny_config(tmp_path / "base", **settings)


def choose(config, monkeypatch, needs, kept=(0,) * 4):
  """Choose among candidates whose needs are given.

  Args:
    config: the settings.
    monkeypatch: replaces the compiler.
    needs: bytes of each of KEPT; None: the compiler refuses.
    kept: bytes that each of KEPT is traced to keep.
  """
  compiled = []

  def of(config):
    layers = config.model.rematerialise
    return KEPT.index(Choice(layers, config.training.rematerialise))

  def update_bytes(config, recipe, model, mesh):
    compiled.append(of(config))
    return needs[of(config)]

  monkeypatch.setattr(rematerialisation, "update_bytes", update_bytes)
  monkeypatch.setattr(
    rematerialisation, "kept_bytes", lambda config, *_: kept[of(config)]
  )
  number, text = rematerialisation.choose(
    config, make_recipe(config), SIZES, make_mesh((1, 1, 8)), MEMORY
  )
  return KEPT[number], text, compiled


def test_the_first_choice_that_leaves_a_tenth_free_is_taken(
  config, monkeypatch
):
  choice, text, compiled = choose(config, monkeypatch, [901, 900, 10, 10])
  assert choice == KEPT[1]
  assert compiled == [0, 1]  # nothing is compiled in vain
  assert "False and False takes" in text


def test_a_choice_that_the_compiler_refuses_is_passed_over(config, monkeypatch):
  choice, text, _ = choose(config, monkeypatch, [None, None, 10, 10])
  assert choice == KEPT[2]
  assert text.count("more than there is") == 2


def test_what_is_far_too_much_is_not_compiled(config, monkeypatch):
  choice, _, compiled = choose(
    config, monkeypatch, [1, 1, 1, 1], kept=[2001, 2000, 0, 0]
  )
  assert choice == KEPT[1]
  assert compiled == [1]


def test_as_little_as_possible_is_kept_if_nothing_fits(config, monkeypatch):
  choice, text, _ = choose(config, monkeypatch, [2000] * 4)
  assert choice == KEPT[3]
  assert "nothing leaves a tenth" in text


def test_unknown_memory_keeps_as_little_as_possible(config):
  number, _ = rematerialisation.choose(
    config, make_recipe(config), SIZES, make_mesh((1, 1, 8)), None
  )
  assert rematerialisation.candidates(config)[number] == KEPT[3]


@pytest.mark.parametrize(
  ("overrides", "expected"),
  [
    ({}, KEPT),
    ({"training.num_microbatches": 1}, [(False, True), (True, True)]),
    (
      {"model.rematerialise": True},
      [(True, k) for k in (False, "layers", True)],
    ),
    (
      {"training.rematerialise": "layers"},
      [(k, "layers") for k in (False, True)],
    ),
    (
      {"model.rematerialise": True, "training.rematerialise": True},
      [(True, True)],
    ),
  ],
)
def test_a_setting_that_is_not_open_stays(config, overrides, expected):
  config.update_from_flattened_dict(overrides)
  assert rematerialisation.candidates(config) == expected


def test_fused_attention_adds_what_it_returns(config):
  config.model.fused_attention = True
  with_it = rematerialisation.candidates(config)
  assert [choice for choice in with_it if "attention" not in choice] == KEPT
  assert Choice(True, "attention") in with_it
  assert {k for k, _ in with_it} == set(OF_A_LAYER)
  assert {k for _, k in with_it} == set(OF_MICROBATCHES)


@pytest.mark.parametrize("section", ["model", "training"])
def test_a_wrong_value_is_named(config, section):
  config[section].rematerialise = "none"
  with pytest.raises(ValueError, match=f"{section}.rematerialise.*'none'"):
    check(config)
  config[section].rematerialise = "attention"
  with pytest.raises(ValueError, match=f"{section}.rematerialise.*fused"):
    check(config)


def test_the_arrays_of_all_micro_batches_are_counted(config):
  config = rematerialisation.with_choice(config, Choice(True, "layers"))
  mesh = make_mesh((1, 1, 1), jax.devices()[:1])
  bytes_of = lambda config: rematerialisation.kept_bytes(
    config, make_model(config, SIZES, mesh), mesh
  )
  layers = bytes_of(config)
  nothing = bytes_of(rematerialisation.with_choice(config, KEPT[3]))
  rollout, steps = config.rollout, config.training.updates_per_rollout
  prompts = rollout.num_prompts // steps
  # responses are read but for their last token; a prompt is read once
  tokens = rollout.prompt_length
  tokens += rollout.group_size * (rollout.response_length - 1)
  inputs = SIZES.num_hidden_layers + 1  # of layers, and the last output
  size = prompts * tokens * inputs * SIZES.hidden_size * 4
  assert size <= layers - nothing < 1.1 * size


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "session_data")
def test_a_run_keeps_its_choice_when_it_is_resumed(
  tmp_path, monkeypatch, capsys
):
  config = tiny_config(write_base(tmp_path / "base"), **BOTH)
  config.num_rollout_steps = 1
  memory = [1e12]
  monkeypatch.setattr(rematerialisation, "memory_of", lambda devices: memory[0])
  assert train(config, tmp_path / "run") is None
  assert capsys.readouterr().out.count("model.rematerialise = False") == 1
  kept = json.loads((tmp_path / "run" / "rematerialise.json").read_text())
  assert kept == {"layers": False, "microbatches": True}  # of one
  memory[0] = 1.0  # a machine with less memory
  config.num_rollout_steps = 2
  assert train(config, tmp_path / "run") is None
  printed = capsys.readouterr().out
  assert "model.rematerialise = False" in printed
  assert "as when the run began" in printed
  recorded = json.loads((tmp_path / "run" / "config.json").read_text())
  assert recorded["model"]["rematerialise"] == "auto"


@pytest.mark.parametrize("section", ["model", "training"])
def test_supervised_learning_does_not_choose(section):
  config = sft.get_config()
  config.model.path, config.sft.files = "base", ("examples.jsonl",)
  check_sft(config)
  with config.ignore_type():
    config[section].rematerialise = "auto"
  with pytest.raises(ValueError, match=rf"{section}\.rematerialise = 'auto'"):
    check_sft(config)
