"""Every method works on every testbed, and its header has the command."""

import dataclasses
import functools
import importlib
import re
import string

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import pytest

import configs
from configs import qwen25_7b_dapo
from entrojax.advantages import apply_rules
from entrojax.assembly import check_run as check_run_module
from entrojax.assembly.check_run import check_run
from entrojax.assembly.graphs import make_update_of
from entrojax.assembly.methods import make_recipe
from entrojax.data import tokenizer
from entrojax.system.sharding import make_mesh
from entrojax.train import train
from entrojax.update.train_step import init_state
from tests.helpers.rule_cases import random_responses
from tests.helpers.system import numbers, write_base, write_prompt_table
from tests.helpers.updates import GROUP_SIZE, NUM_ROWS, make_batch

METHODS = configs.methods()
TESTBEDS = configs.testbeds()
PLACES = {"countdown": "test", "gsm8k": "sample", "logic": "test"}
CHAT = "{% for turn in messages %}{{ turn.content }}{% endfor %}"
# An update depends on these settings and on the settings of its methods.
UPDATE = ("objective", "aggregation", "control", "projection")
UPDATES: dict = {}  # compiled once for all that differ in numbers alone
ONE_UPDATE = {
  "updates_per_rollout": 1,
  "num_epochs": 1,
  "num_microbatches": 1,
  "rematerialise": False,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
  """Write a model folder that can read the prompts of all tasks."""
  folder = write_base(tmp_path_factory.mktemp("bases") / "tiny")
  words = tokenizer.character_tokenizer(dict.fromkeys(string.printable))
  words.save(str(folder / "tokenizer.json"))
  (folder / "chat_template.jinja").write_text(CHAT)
  return folder


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
  return tmp_path_factory.mktemp("tables")


@pytest.fixture
def checks_one_device(monkeypatch):
  one = functools.partial(make_mesh, devices=jax.devices()[:1])
  monkeypatch.setattr(check_run_module, "make_mesh", one)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:training.updates_per_rollout is 1")
@pytest.mark.parametrize("testbed", PLACES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_an_update_on_every_testbed(
  method, testbed, base, tables, bigram, checks_one_device, session_data
):
  config = configs.combine(method, testbed, PLACES[testbed])
  config.model.path = str(base)
  config.rollout.prompt_length = 600  # a token is a character
  config.lora.rank = min(config.lora.rank, 2)  # the model has a width of 8
  if method == "lp_reg":
    config.lp_reg.candidates = 3  # the other model knows 8 tokens
  if method == "pass_at_k":
    config.pass_at_k.k = GROUP_SIZE
  if config.curriculum.table:
    config.task.train_split = "train[:16]"
    config.curriculum.table = str(tables / f"{method}_{testbed}.jsonl")
    write_prompt_table(tables / f"{method}_{testbed}.jsonl", config, range(16))
  check_run(config)
  # the same sizes for all, so that many share one compiled update
  config.training.update(ONE_UPDATE)
  config.rollout.update({"group_size": GROUP_SIZE, "temperature": 1.0})
  config.optimizer = configs.combine("grpo", "countdown").optimizer
  state, metrics = update_once(config, bigram)
  assert state.step == 1
  for name in ("actor/loss", "actor/entropy"):
    assert np.isfinite(metrics[name].total), name
  assert jnp.all(jnp.isfinite(state.params["embed_tokens"]))


def structure(settings):
  """Return settings as text, with a mark in the place of every number.

  The same method with a testbed's own numbers is the same graph: it is built
  with them, but not compiled again.
  """
  if isinstance(settings, ConfigDict | dict):
    return str({key: structure(value) for key, value in settings.items()})
  if isinstance(settings, str):  # a schedule's numbers too; not k1, k2 and k3
    return re.sub(r"(?<![\w.])\d+(\.\d+)?", "number", settings)
  return "number" if isinstance(settings, float) else repr(settings)


def update_once(config, model):
  """Apply the rules to random responses, and update on them."""
  recipe = make_recipe(config)
  num_groups = NUM_ROWS // GROUP_SIZE
  responses = apply_rules(
    recipe.rules, random_responses(0, num_groups, GROUP_SIZE)
  )
  batch = make_batch(0)
  advantages = responses.advantages.reshape(NUM_ROWS, 1)
  batch = dataclasses.replace(
    batch,
    advantages=jnp.broadcast_to(advantages, batch.response_mask.shape),
    keep=responses.keep.reshape(NUM_ROWS),
    step_ok=jnp.ones_like(batch.response_mask),
  )
  methods = (*config.objective, config.control.name)
  settings = {key: config[key] for key in (*UPDATE, *methods)}
  key = structure({**settings, "offline": config.offline.enabled})
  if key not in UPDATES:
    mesh = make_mesh((1, 1, 1), jax.devices()[:1])
    UPDATES[key] = jax.jit(make_update_of(config, recipe, mesh)(model))
  state = init_state({"embed_tokens": jnp.zeros((8, 8))}, recipe.optimizer)
  reference = state.params if recipe.needs_reference else None
  return jax.device_get(
    UPDATES[key](state, reference, batch, jax.random.key(0))
  )


def test_the_overlong_penalty_follows_the_length_of_responses():
  config = configs.combine("dapo", "gsm8k")
  config.rollout.response_length = 1000
  penalty = config.overlong_penalty
  assert (penalty.max_length, penalty.cache_length) == (1000, 200)
  penalty.max_length = 500
  assert config.rollout.response_length == 1000
  large = qwen25_7b_dapo.get_config("long")
  assert large.overlong_penalty.max_length == 32768 - 2048
  large.rollout.response_length = 8192
  assert large.overlong_penalty.max_length == 8192


@pytest.mark.parametrize("testbed", TESTBEDS)
def test_the_curriculum_of_sent_names_a_table_of_the_testbed_s_own_task(
  testbed,
):
  config = configs.combine("sent", testbed)
  task = config.task.name.replace("/", "_")
  assert config.curriculum.table == f"runs/{task}_prompts.jsonl"


# tests/test_train.py runs dynamic sampling, tests/rollouts/test_offline.py
# recorded rollouts; these run clusters of answers, and decoding in slots
@pytest.mark.slow
@pytest.mark.parametrize(
  ("file", "words"), [("seed_grpo", "test"), ("reasoning", "test,entropic")]
)
def test_a_config_runs(file, words, tmp_path, one_device, session_data):
  config = importlib.import_module(f"configs.{file}").get_config(words)
  config.model.path = str(write_base(tmp_path / "tiny"))
  train(config, tmp_path / "run")
  rows = numbers(tmp_path / "run")
  assert [row["rollout_step"] for row in rows] == [0, 1, 2, 2]


# -- words after a colon ------------------------------------------------------


def config_of(file, words=""):
  return importlib.import_module(f"configs.{file}").get_config(words)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_and_a_testbed_are_named_from_both_sides(method):
  testbed = "gsm8k"
  config = configs.combine(method, testbed)
  assert config_of(testbed, method).to_dict() == config.to_dict()
  assert config_of(method, testbed).to_dict() == config.to_dict()
  assert config.task.name == config_of(testbed).task.name
  own = METHODS[method].testbed
  other = configs.combine(method, own)
  assert (config.objective, config.advantage, config.control.name) == (
    *(other.objective, other.advantage, other.control.name),
  )


def test_presets_and_names_stand_in_any_order():
  config = configs.combine("clip_cov", "countdown", "test").to_dict()
  for file, words in (
    ("clip_cov", "test"),
    ("clip_cov", "test,countdown"),
    ("countdown", "clip_cov,test"),
    ("countdown", "test, clip_cov"),
  ):
    assert config_of(file, words).to_dict() == config


def test_a_testbed_without_a_method_is_grpo():
  for testbed in TESTBEDS:
    config = configs.combine("grpo", testbed)
    assert config_of(testbed).to_dict() == config.to_dict()


def test_a_method_has_its_papers_numbers_but_where_a_testbed_has_its_own():
  fraction = lambda *words: config_of(*words).clip_cov.fraction
  assert fraction("gsm8k", "clip_cov,sample") == 2e-4
  assert fraction("countdown", "clip_cov") == 0.02
  assert fraction("reasoning", "clip_cov") == 0.02  # it takes Countdown's
  target = lambda *words: config_of(*words).control.target
  assert target("gsm8k", "entropic") == 0.1
  assert target("countdown", "entropic") == 0.5
  assert target("logic", "entropic") == 0.15
  assert target("reasoning", "entropic") == 0.23
  bcpg = config_of("reasoning", "bcpg")
  assert (bcpg.bcpg.tau, bcpg.rollout.num_prompts) == (0.15, 32)


@pytest.mark.parametrize(
  ("file", "words", "message"),
  [
    ("gsm8k", "clip_cv", "no preset or method 'clip_cv'; did you mean 'clip_c"),
    ("gsm8k", "smple", "no preset or method 'smple'; did you mean 'sample'?"),
    ("gsm8k", "test", "no preset or method 'test'; the presets are small, s"),
    ("clip_cov", "gsm8", "no preset or testbed 'gsm8'; did you mean 'gsm8k'?"),
    ("clip_cov", "sample", "no preset or testbed 'sample'; the presets are de"),
    ("gsm8k", "erc,gspo", "erc and gspo exclude each other: choose one"),
    ("erc", "logic,gsm8k", "logic and gsm8k exclude each other: choose one"),
  ],
)
def test_a_wrong_word_is_named(file, words, message):
  with pytest.raises(ValueError, match=message.replace("?", r"\?")):
    config_of(file, words)


def test_a_wrong_name_in_a_program_is_named():
  with pytest.raises(ValueError, match="no method 'clip_cv'; did you mean"):
    configs.combine("clip_cv", "gsm8k")
  with pytest.raises(ValueError, match="no testbed 'gsm8'; did you mean"):
    configs.combine("clip_cov", "gsm8")
  with pytest.raises(ValueError, match="no preset 'smple'; did you mean"):
    configs.combine("clip_cov", "gsm8k", "smple")


def test_no_two_words_have_two_meanings():
  presets = {preset for t in TESTBEDS.values() for preset in t.presets}
  assert not presets & {*METHODS, *TESTBEDS}
  assert not set(METHODS) & set(TESTBEDS)


@pytest.mark.parametrize("name", [*METHODS, *TESTBEDS])
def test_a_config_says_how_it_is_run(name):
  header = importlib.import_module(f"configs.{name}").__doc__
  assert f"--config=configs/{name}.py" in header
  assert "--workdir=" in header
