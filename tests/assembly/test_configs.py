"""Every config runs, and its header has the command."""

import importlib

import pytest

import configs
from entrojax.train import train
from tests.helpers.system import numbers, write_base, write_prompt_table

METHODS = configs.methods()
TESTBEDS = configs.testbeds()
OFFLINE = [n for n, m in METHODS.items() if m.testbed == "logic"]
# the rest run on a tiny random base; an offline run needs right answers
ON_A_SHIPPED_BASE = {*OFFLINE, "dapo", "seed_grpo", "sent"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
  return write_base(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*METHODS, "countdown", "reasoning"])
def test_a_config_runs(name, base, tmp_path, one_device, session_data):
  config = importlib.import_module(f"configs.{name}").get_config("test")
  if name not in ON_A_SHIPPED_BASE:
    config.model.path = str(base)
  if config.curriculum.table:
    config.task.train_split = "train[:16]"
    config.curriculum.table = str(tmp_path / "table.jsonl")
    write_prompt_table(tmp_path / "table.jsonl", config, range(16))
  train(config, tmp_path / "run")
  rows = numbers(tmp_path / "run")
  assert [row["rollout_step"] for row in rows] == [0, 1, 2, 2]


# -- words after a colon ------------------------------------------------------


def config_of(file, words=""):
  return importlib.import_module(f"configs.{file}").get_config(words)


@pytest.mark.parametrize("testbed", TESTBEDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_and_a_testbed_are_named_from_both_sides(method, testbed):
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
  bcpg = config_of("reasoning", "bcpg")
  assert (bcpg.bcpg.tau, bcpg.rollout.num_prompts) == (0.15, 32)


@pytest.mark.parametrize(
  ("file", "words", "message"),
  [
    ("gsm8k", "clip_cv", "no preset or method 'clip_cv'; did you mean 'clip_c"),
    ("gsm8k", "smple", "no preset or method 'smple'; did you mean 'sample'?"),
    ("gsm8k", "test", "no preset or method 'test'; the presets are sample"),
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
