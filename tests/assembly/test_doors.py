"""Functions of a user's own code: named in a config, or passed to train."""

import json
from pathlib import Path
import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
import entrojax
from entrojax.assembly.check_methods import check_overrides
from entrojax.assembly.check_settings import check
from entrojax.assembly.data import Spec, make_template, open_task, parse_spec
from entrojax.assembly.methods import (
  make_advantage_rules,
  make_aggregation,
  make_controller,
  make_judges,
  make_members,
  make_recipe,
  make_segmenter,
  outside_functions,
)
from entrojax.assembly.own_methods import (
  NO_METHODS,
  make_own_task,
  own_methods,
  qualified_name,
  record_names,
)
from entrojax.main import main
from entrojax.objectives.reference_kl import reference_log_probs
from entrojax.rollouts.rewards import verify_responses
from entrojax.system import outside
from entrojax.tasks.own import own_task
from entrojax.types import Problem, Reasoning, Task, Verdict
from tests.helpers.paths import ROOT
from tests.helpers.system import numbers, tiny_config, write_base

MINE = """
import jax.numpy as jnp

from entrojax.arguments import require_at_least
from entrojax.control import no_control
from entrojax.objectives.chain import add_penalty, add_term
from entrojax.types import (
  AdvantageRule, Aggregation, Controller, Objective, StepJudge, Task, Verdict
)
from entrojax import types
from entrojax.traits import ControllerTraits, ObjectiveTraits
from entrojax.judges.segmentation import Segmenter


def loss(*, strength: float = 2.0) -> Objective:
  require_at_least("loss.strength", strength, 0)

  def objective(tokens, token_loss, coefficient, key):
    value = -strength * tokens.advantages * tokens.log_probs
    return add_term(token_loss, value, tokens.mask, {})

  return objective


def penalty() -> Objective:
  return lambda tokens, token_loss, coefficient, key: add_penalty(
    token_loss, -tokens.entropy, tokens.mask, {}
  )


def driven() -> Objective:
  return lambda tokens, token_loss, coefficient, key: add_penalty(
    token_loss, -coefficient * tokens.entropy, tokens.mask, {}
  )


@ObjectiveTraits(kind="penalty", driven=True)
def declared() -> Objective:
  return driven()


@ControllerTraits(drives=("declared",))
def driver() -> Controller:
  return no_control()


def needy(*, strength: float) -> "types.Objective":
  return loss(strength=strength)


def broken() -> Objective:
  return lambda tokens, token_loss, coefficient, key: tokens.no_such_field


def branchy() -> Objective:
  def objective(tokens, token_loss, coefficient, key):
    if tokens.log_probs.sum() > 0:
      return token_loss
    return token_loss

  return objective


def wrong_type() -> Objective:
  return lambda tokens, token_loss, coefficient, key: tokens.log_probs


def wrong_shape() -> Objective:
  return lambda tokens, token_loss, coefficient, key: add_term(
    token_loss, tokens.log_probs.sum(), tokens.mask, {}
  )


def no_function() -> Objective:
  return 3


def raises_itself() -> Objective:
  raise KeyError("gone")


def without_annotation():
  return loss()


def doubled() -> AdvantageRule:
  import dataclasses

  return lambda responses: dataclasses.replace(
    responses, advantages=2 * responses.rewards
  )


def broken_rule() -> AdvantageRule:
  return lambda responses: responses.rewards


def feedback(*, target: float, gain: float = 1.0) -> Controller:
  return no_control()._replace(
    coefficient=lambda state, entropy: gain * (target - entropy)
  )


def vector() -> Controller:
  return no_control()._replace(
    coefficient=lambda state, entropy: jnp.zeros(3)
  )


def total() -> Aggregation:
  return lambda loss, weight: (loss * weight).sum()


def no_total() -> Aggregation:
  return lambda loss, weight: loss


def halves() -> Segmenter:
  return lambda text: [(0, len(text) // 2), (len(text) // 2, len(text))]


def all_right(*, task) -> StepJudge:
  return lambda reasonings: [[True for _ in r.steps] for r in reasonings]


def gaps() -> Segmenter:
  return lambda text: [(0, 1)]


def few() -> StepJudge:
  return lambda responses: [[] for _ in responses]


def polite(question: str) -> str:
  return f"Please: {question}"


def number(question: str) -> str:
  return 7


def three(*, size: int = 3, difficulty: int = 1) -> Task:
  from entrojax.types import Problem

  problems = [Problem(str(i), {}) for i in range(size)]
  return Task("mine", lambda split: problems, None)


def no_task() -> Task:
  return 3
"""

# without imports at the top, so that its process starts quickly
REWARDS = """
import time


def reward(prompt, response, target, scale=1.0):
  if response == "raise":
    raise ValueError("bad\\nresponse")
  if response == "hang":
    while True:
      time.sleep(0.01)
  if response == "die":
    import os
    os._exit(1)
  if response == "nan":
    return float("nan")
  if response == "text":
    return "yes"
  return scale * (response == target)


def nan_reward(prompt, response):
  return float("nan")


def all_columns(prompt, response, **columns):
  return float(len(columns))


def verify(problem, response):
  from entrojax.types import Verdict

  right = response == problem.answer["target"]
  return Verdict(float(right), "checked", response)


def odd(x, y):
  return 0.0
"""

ROWS = [
  {"prompt": f"3 5 7 {i}=24:", "target": "(1+2)"[: 1 + i % 5]}
  for i in range(1, 10)
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
  """Work in a folder that has two files of code and the problems."""
  monkeypatch.chdir(tmp_path)
  Path("mine.py").write_text(MINE)
  Path("rewards.py").write_text(REWARDS)
  write_problems(Path("data"))
  return tmp_path


def write_problems(data: Path, rows=ROWS, splits=("train", "validation")):
  data.mkdir(exist_ok=True)
  for split in (*splits, "test"):
    write_rows(data / f"{split}.jsonl", rows)


def write_rows(path: Path, rows) -> Path:
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path


def config_of(**overrides):
  """Return the default config with these settings, by 'section.leaf'."""
  config = default.get_config()
  config.update_from_flattened_dict(overrides)
  return config


def with_section(config, name, **leaves):
  config[name] = type(config)(leaves)
  return config


def task_of(name="rewards.py:reward", data_dir="data", **overrides):
  return open_task(
    config_of(**{"task.name": name, "task.data_dir": data_dir, **overrides})
  )


# -- names that reach outside -------------------------------------------------


def test_a_loss_of_ones_own_has_the_settings_of_its_section(random_tokens):
  config = config_of(objective=("mine.py:loss",))
  config.aggregation = "mine.py:total"
  with_section(config, "loss", strength=0.5)
  tokens = random_tokens(0, 4, 3)
  clean = {
    name: np.where(tokens.mask > 0, getattr(tokens, name), 0)
    for name in ("log_probs", "advantages")
  }
  recipe = make_recipe(config)
  assert list(recipe.members) == ["loss"]
  value, _ = entrojax.policy_loss(
    recipe.objective, make_aggregation(config), tokens
  )
  expected = -0.5 * np.sum(clean["advantages"] * clean["log_probs"])
  assert value == pytest.approx(expected, rel=1e-5)  # float32 sums


def test_a_module_is_named_by_its_dotted_name(folder, monkeypatch):
  package = folder / "a_package_of_mine"
  package.mkdir()
  (package / "__init__.py").write_text("")
  (package / "losses.py").write_text(MINE)
  monkeypatch.syspath_prepend(str(folder))
  config = config_of(objective=("ppo_clip", "a_package_of_mine.losses:needy"))
  with_section(config, "needy", strength=1.0)
  assert list(make_members(config)) == ["ppo_clip", "needy"]


def test_rules_controllers_segmenters_judges_and_templates_are_found():
  config = config_of(
    **{
      "advantage": ("mine.py:doubled",),
      "control.name": "mine.py:feedback",
      "control.target": 0.5,
      "segmentation.name": "mine.py:halves",
      "judges": ("mine.py:all_right",),
      "prompt.template": "mine.py:polite",
    }
  )
  with_section(config, "feedback", gain=4.0)
  (rule,) = make_advantage_rules(config).values()
  responses = entrojax.Responses(rewards=jnp.ones((1, 2)))
  assert rule(responses).advantages.tolist() == [[2.0, 2.0]]
  controller = make_controller(config)
  assert controller.coefficient((), jnp.float32(0.25)) == 1.0
  assert make_segmenter(config)("abcd") == [(0, 2), (2, 4)]
  judges = make_judges(config, task=None, cache=Path("cache"))
  assert list(judges) == ["all_right"]
  assert make_template(config, Path())("x") == "Please: x"


def test_own_methods_pass_the_checks_of_ours():
  config = config_of(
    **{
      "task.name": "rewards.py:reward",
      "model.path": "base",
      "objective": ("gspo", "mine.py:loss"),
      "aggregation": "mine.py:total",
      "control.name": "entropic_pi",
      "control.target": 0.5,
    }
  )
  check(config)  # mine.py:loss may read the coefficient of entropic_pi
  config.control.name = "mine.py:feedback"
  config.objective = ("gspo", "entropic")
  check(config)
  with_section(config, "feedback", gain=1.0)
  check_overrides(config, ["feedback.gain", "control.target"])


def test_a_surrogate_of_ones_own_needs_no_metric_and_no_traits():
  make_recipe(config_of(objective=("mine.py:loss", "erc")))
  with pytest.raises(ValueError, match="objective has no surrogate"):
    make_recipe(config_of(objective=("mine.py:penalty",)))
  own = own_methods(objective=outside.load("mine.py:penalty")())
  with pytest.raises(ValueError, match="objective has no surrogate"):
    make_recipe(record_names(config_of(), own, None), own)


def test_a_driven_member_of_ones_own_needs_a_controller():
  config = config_of(objective=("ppo_clip", "mine.py:driven"))
  with pytest.raises(
    ValueError,
    match=r"driven by a controller, but control\.name is 'no_control', which "
    r"drives none \(objective: mine\.py:driven raised TypeError",
  ):
    make_recipe(config)
  config.control.update({"name": "entropic_pi", "target": 0.5})
  make_recipe(config)
  own = own_methods(
    {"ppo_clip": entrojax.ppo_clip(), "calm": entrojax.entropic()}
  )
  with pytest.raises(
    ValueError, match=r"drives none .*entropic needs the coef"
  ):
    make_recipe(record_names(config_of(), own, None), own)


def test_traits_of_ones_own_are_checked_like_ours():
  config = config_of(
    **{"task.name": "countdown", "model.path": "base"},
    objective=("ppo_clip", "mine.py:declared"),
  )
  with pytest.raises(ValueError, match=r"'declared' but .*controller of your"):
    check(config)
  config.control.update({"name": "entropic_pi", "target": 0.5})
  with pytest.raises(ValueError, match="which drives 'entropic': objective mu"):
    check(config)
  config.control.update({"name": "mine.py:driver"})
  check(config)
  config.objective = ("ppo_clip", "entropic")
  with pytest.raises(ValueError, match="which drives 'declared'"):
    check(config)


def test_nothing_is_imported_unless_it_is_named(folder):
  (folder / "untouched.py").write_text("raise SystemError('was imported')")
  config = config_of(objective=("ppo_clip", "mine.py:loss"))
  make_recipe(config)
  config.objective = ("ppo_clip", "untouched.py:loss")
  with pytest.raises(ValueError, match="SystemError: was imported"):
    make_recipe(config)


def test_a_file_that_has_changed_gives_another_function(folder):
  config = config_of(objective=("mine.py:loss",))
  first, same = (outside_functions(config, NO_METHODS) for _ in range(2))
  assert first == same
  (folder / "mine.py").write_text(MINE + "\n")
  assert outside_functions(config, NO_METHODS) != first


@pytest.mark.parametrize(
  ("label", "parts"),
  [
    ("rewards.py:reward", ("rewards.py:reward", 1, "test", None)),
    ("a/b.py:f:train@data", ("a/b.py:f", 1, "train", "data")),
    ("a.b:f#2", ("a.b:f", 2, "test", None)),
    ("countdown:train[:3]", ("countdown", 1, "train[:3]", None)),
  ],
)
def test_a_label_of_an_evaluation_may_name_a_function(label, parts):
  assert parse_spec(label, Spec("x", 1, "test", None)) == parts


WRONG_METHODS = {
  "no file": (
    {"objective": ("nowhere.py:loss",)},
    r"^objective: there is no file nowhere\.py \(looked for /",
  ),
  "no module": (
    {"objective": ("no_such.module:loss",)},
    r"^objective: there is no module 'no_such\.module'$",
  ),
  "no function": (
    {"objective": ("mine.py:los",)},
    r"^objective: mine\.py has no function 'los'; did you mean 'loss'\?",
  ),
  "no annotation": (
    {"objective": ("mine.py:without_annotation",)},
    r"^objective: mine\.py:without_annotation has no return annotation; expec"
    r"ted a function such as def without_annotation\(\.\.\.\) -> Objective$",
  ),
  "wrong annotation": (
    {"advantage": ("mine.py:loss",)},
    r"^advantage: mine\.py:loss has the return annotation Objective; .* -> "
    "AdvantageRule$",
  ),
  "wrong controller": (
    {"control.name": "mine.py:total"},
    r"^control\.name: mine\.py:total has the return annotation Aggregation",
  ),
  "wrong aggregation": (
    {"aggregation": "mine.py:doubled"},
    r"^aggregation: mine\.py:doubled has the return annotation AdvantageRule",
  ),
  "raises at trace time": (
    {"objective": ("mine.py:broken",)},
    r"^objective: mine\.py:broken raised AttributeError: .*no_such_field'; it "
    r"is called with \(tokens, token_loss, coefficient, key\)",
  ),
  "branches on a tracer": (
    {"objective": ("ppo_clip", "mine.py:branchy")},
    r"^objective: mine\.py:branchy raised TracerBoolConversionError: ",
  ),
  "returns another type": (
    {"objective": ("mine.py:wrong_type",)},
    r"^objective: mine\.py:wrong_type returned a value of type .*; expected a "
    "TokenLoss",
  ),
  "returns another shape": (
    {"objective": ("mine.py:wrong_shape",)},
    r"^objective: mine\.py:wrong_shape returned a term whose loss has the "
    r"shape \(\); expected the shape of the tokens, \(1, 1\)",
  ),
  "builds no function": (
    {"objective": ("mine.py:no_function",)},
    r"^objective: mine\.py:no_function is 3; expected a function of \(toke",
  ),
  "raises when called": (
    {"objective": ("mine.py:raises_itself",)},
    r"^raises_itself: mine\.py:raises_itself raised KeyError: 'gone'",
  ),
  "a setting is missing": (
    {"objective": ("mine.py:needy",)},
    r"^needy\.strength is not set: mine\.py:needy is needy\(\*, strength: "
    r"float\), and its arguments come from the section 'needy'",
  ),
  "a rule of another type": (
    {"advantage": ("mine.py:broken_rule",)},
    r"^advantage: mine\.py:broken_rule returned .*; expected a Responses",
  ),
  "a coefficient of another shape": (
    {"control.name": "mine.py:vector"},
    r"^control\.name: mine\.py:vector has a coefficient of shape \(3,\)",
  ),
  "an aggregation of another shape": (
    {"aggregation": "mine.py:no_total"},
    r"^aggregation: mine\.py:no_total returned an array of shape \(1, 1\)",
  ),
}


@pytest.mark.parametrize("case", WRONG_METHODS)
def test_a_wrong_method_of_ones_own_is_named(case):
  changes, message = WRONG_METHODS[case]
  config = config_of(**changes)
  with pytest.raises(ValueError, match=message) as caught:
    make_recipe(config)
    make_aggregation(config)
  assert "\n" not in str(caught.value)


def test_a_setting_of_a_loss_of_ones_own_is_checked():
  config = config_of(objective=("mine.py:loss",))
  with_section(config, "loss", strenght=1.0)
  with pytest.raises(
    ValueError,
    match=r"^loss\.strenght: mine\.py:loss does not take 'strenght', it is "
    r"loss\(\*, strength: float = 2\.0\); if the section 'loss' is not",
  ):
    make_recipe(config)
  with_section(config, "loss", strength=-1.0)
  with pytest.raises(ValueError, match=r"loss\.strength must be at least 0"):
    make_recipe(config)


def test_two_members_with_one_last_name_are_refused():
  (
    config := config_of(objective=("loss.py:erc", "erc"))
  ).task.name = "countdown"
  config.model.path = "base"
  with pytest.raises(ValueError, match="objective names 'erc' twice"):
    check(config)


def test_a_template_that_returns_no_text_is_named():
  template = make_template(
    config_of(**{"prompt.template": "mine.py:number"}), Path()
  )
  with pytest.raises(ValueError, match=r"mine\.py:number returned a value "):
    template("3 5")


def test_a_segmenter_or_a_judge_that_fits_no_text_is_named():
  config = config_of(
    **{"segmentation.name": "mine.py:gaps", "judges": ("mine.py:few",)}
  )
  segment = make_segmenter(config)
  with pytest.raises(
    ValueError, match=r"mine\.py:gaps returned \[\(0, 1\)\] for a text of 3"
  ):
    segment("abc")
  (judge,) = make_judges(config, task=None, cache=Path("cache")).values()
  with pytest.raises(
    ValueError, match=r"mine\.py:few returned \[0\] verdicts .* of \[2\] steps"
  ):
    judge([Reasoning(Problem("1", {}), ["a", "b"])])


def test_a_name_without_its_function_says_how_to_write_one():
  with pytest.raises(ValueError, match=r"is written mine\.py:FUNCTION"):
    make_members(config_of(objective=("mine.py",)))
  with pytest.raises(ValueError, match=r"is written mine\.py:FUNCTION"):
    task_of("mine.py")


# -- rewards ------------------------------------------------------------------


def test_a_reward_reads_the_columns_that_it_takes():
  task = task_of()
  assert task.name == "reward"
  problem = task.load("train[2:3]")[0]
  assert problem.answer == ROWS[2]
  assert task.verify(problem, "(1+2") == Verdict(1.0, "1", None)
  assert task.verify(problem, "(") == Verdict(0.0, "0", None)
  columns = task_of("rewards.py:all_columns")
  assert columns.verify(columns.load("train")[0], "").reward == 1  # target


def test_a_reward_of_the_data_reads_the_prompt_without_its_template():
  kept = []
  reward = lambda prompt, response: kept.append(prompt) or 0.0
  task = make_own_task((reward, ROWS)).task
  problem = task.load("all")[0]
  task.verify(problem._replace(prompt="a template"), "")
  assert kept[-1] == ROWS[0]["prompt"]


def test_a_verifier_returns_its_own_verdict():
  task = task_of("rewards.py:verify")
  problem = task.load("train")[0]
  assert task.verify(problem, "(1") == Verdict(1.0, "checked", "(1")


def test_a_factory_builds_a_task_from_its_section():
  config = config_of(**{"task.name": "mine.py:three"})
  with_section(config, "three", size=5)
  assert len(open_task(config).load("train")) == 5
  assert len(task_of("mine.py:three", data_dir=None).load("train")) == 3
  with pytest.raises(ValueError, match=r"no_task returned .*expected a Task"):
    task_of("mine.py:no_task")


def failed(reason):
  return Verdict(0.0, reason, None, failed=True)


@pytest.mark.parametrize("passed", [False, True])
def test_a_reward_that_fails_counts_as_zero(passed):
  function = outside.load("rewards.py:reward")
  source, name = Path("data"), "rewards.py:reward"
  task = own_task(
    function, source, name=name, importable=not passed, seconds=0.5
  )
  problem = task.load("train")[0]
  with pytest.warns(UserWarning, match=r"py:reward: failed call number 1: "):
    verdict = task.verify(problem, "raise")
  assert verdict == failed("reward raised ValueError: bad")
  verdict = task.verify(problem, "hang")
  assert verdict == failed("reward took longer than 0.5 s")
  if not passed:
    assert (
      task.verify(problem, "die").reason == "reward failed: the process died"
    )
  assert task.verify(problem, problem.answer["target"]).reward == 1


def test_the_responses_of_a_batch_share_processes_and_keep_their_order():
  function = outside.load("rewards.py:reward")
  task = own_task(
    function, Path("data"), name="rewards.py:reward", importable=True
  )
  problem = task.load("train")[0]
  right = problem.answer["target"]
  with pytest.warns(UserWarning, match="failed call number 1"):
    rows = verify_responses(
      [problem, problem], ["raise", right, right, "die"], task.verify
    )
  rewards = [[verdict.reward for verdict in row] for row in rows]
  assert rewards == [[0, 1], [1, 0]]
  assert rows[1][1].reason == "reward failed: the process died"


@pytest.mark.parametrize(
  ("response", "value"), [("nan", "nan"), ("text", "'yes'")]
)
def test_a_reward_that_is_no_number_is_an_error(response, value):
  task = task_of()
  problem = task.load("train")[0]
  with pytest.raises(
    ValueError,
    match=rf"^task\.name: rewards\.py:reward returned {value} for the prompt "
    rf"'3 5 7 1=24:' and the response '{response}'; expected a finite number",
  ):
    task.verify(problem, response)


def test_a_reward_that_is_never_a_number_is_found_before_the_run():
  with pytest.raises(ValueError, match="nan_reward returned nan"):
    task_of("rewards.py:nan_reward").load("train")


WRONG_TASKS = {
  "no folder": ({"data_dir": None}, r"task\.data_dir is not set; for the rew"),
  "no such folder": ({"data_dir": "x"}, r"task\.data_dir='x' does not exist"),
  "no function": ({"name": "rewards.py:rewrad"}, "did you mean 'reward'"),
  "no file": ({"name": "x.py:reward"}, r"^task\.name: there is no file x\.py"),
  "other arguments": (
    {"name": "rewards.py:odd"},
    r"^task\.name: rewards\.py:odd takes \(x, y\); expected a reward \(prompt, "
    r"response, \*\*columns\) or \(prompts, .*, a verifier",
  ),
  "a level": (
    {"task.difficulty": 2},
    r"task\.difficulty must be 1 for rewards\.py:reward, got 2",
  ),
}


@pytest.mark.parametrize("case", WRONG_TASKS)
def test_a_wrong_task_of_ones_own_is_named(case):
  changes, message = WRONG_TASKS[case]
  with pytest.raises(ValueError, match=message):
    task_of(**changes)


WRONG_ROWS = {
  "no prompt": (
    [{"question": "1", "target": "1"}],
    r"^data/train\.jsonl: row 0: the column prompt must be a text, got None; "
    r"the columns are \['question', 'target'\]$",
  ),
  "no column of the reward": (
    [ROWS[0], {"prompt": "1"}],
    r"^data/train\.jsonl: row 1 has no column 'target', which rewards\.py:rew",
  ),
  "a column response": (
    [{"prompt": "1", "target": "", "response": ""}],
    r"^data/train\.jsonl: row 0 has a column response",
  ),
  "no row": ([], r"split='train' of data holds no problem"),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_a_wrong_row_is_named(case):
  rows, message = WRONG_ROWS[case]
  write_problems(Path("data"), rows)
  with pytest.raises(ValueError, match=message):
    task_of().load("train")


def test_a_missing_split_file_is_named():
  with pytest.raises(ValueError, match=r"split='dev': there is no data/dev\.p"):
    task_of().load("dev")


# -- arguments that reach inside ----------------------------------------------


def test_problems_are_a_list_a_file_or_a_dict_of_splits():
  reward = lambda prompt, response: 0.0
  path = write_rows(Path("all.jsonl"), ROWS)
  for problems in (ROWS, iter(ROWS), path, str(path)):
    load = make_own_task((reward, problems)).task.load
    prompts = [
      p.prompt for s in ("train", "validation", "test") for p in load(s)
    ]
    assert sorted(prompts) == [row["prompt"] for row in ROWS]
    assert len(load("validation")) == 1
  load = make_own_task((reward, {"train": ROWS[:2]})).task.load
  assert len(load("train")) == 2
  with pytest.raises(ValueError, match=r"only the splits \('train',\)"):
    load("validation")
  with pytest.raises(ValueError, match="3 problems are too few to divide"):
    make_own_task((reward, ROWS[:3])).task.load("validation")


def test_functions_are_recorded_by_their_names():
  config = default.get_config()
  task = Task("mine", lambda split: [], test_a_missing_split_file_is_named)
  own = own_methods(
    entrojax.ppo_clip(),
    {"mine": entrojax.grpo()},
    entrojax.entropic_pi(target=0.5),
  )
  named = record_names(config, own, make_own_task(task))
  assert named.objective == (
    "entrojax.objectives.ppo.ppo_clip.<locals>.objective:ppo_clip",
  )
  (rule,) = named.advantage
  assert re.fullmatch(r"entrojax\.advantages\..*grpo.*:mine", rule)
  assert re.fullmatch(
    r"entrojax\.control\.pi\..*:entropic_pi", named.control.name
  )
  assert named.task.name.endswith(".test_a_missing_split_file_is_named:mine")
  assert config.objective == ("ppo_clip",)  # the caller's is not changed
  assert qualified_name(jnp.sum).endswith(".sum")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"objective": {}}, "objective is empty"),
    ({"objective": "ppo_clip"}, "objective is 'ppo_clip'; expected a function"),
    ({"advantage": {"a": 1}}, "advantage: a is 1; expected a function"),
    ({"controller": 3}, "controller is 3; expected an entrojax"),
  ],
)
def test_an_argument_of_another_type_is_named(arguments, message):
  with pytest.raises(ValueError, match=message):
    own_methods(**arguments)


def test_a_task_of_another_type_is_named():
  with pytest.raises(
    ValueError, match="task is 'countdown'; expected an entro"
  ):
    make_own_task("countdown")


def test_a_member_without_its_reference_asks_for_one():
  def objective(tokens, token_loss, coefficient, key):
    reference_log_probs(tokens, "mine")
    return entrojax.ppo_clip()(tokens, token_loss, coefficient, key)

  config = default.get_config()
  own = own_methods(objective=objective)
  named = record_names(config, own, None)
  assert make_recipe(named, own).needs_reference


@pytest.mark.slow
def test_importing_the_library_does_not_import_the_trainer():
  code = (
    "import sys, entrojax; assert 'entrojax.train' not in sys.modules; "
    "assert callable(entrojax.train)"
  )
  subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# -- the page, and whole runs -------------------------------------------------


def blocks() -> list[str]:
  """Return the code of the page's section, as a user copies it."""
  page = (ROOT / "entrojax" / "README.md").read_text()
  section = page.partition("## Bring your own")[2].partition("\n## ")[0]
  return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


OWN_CONFIG = """
from ml_collections import ConfigDict

from configs import grpo


def get_config():
  config = grpo.get_config("test")
  config.calm = ConfigDict({"strength": 0.5})
  return config
"""


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "session_data")
def test_the_file_of_the_page_trains(folder, monkeypatch):
  base = write_base(folder / "base")
  (folder / "mine.py").write_text(blocks()[0])
  (folder / "config.py").write_text(OWN_CONFIG)
  arguments = [
    "--config=config.py",
    "--workdir=run",
    "--config.task.name=mine.py:reward",
    "--config.task.data_dir=data",
    "--config.objective=('ppo_clip', 'mine.py:calm')",
    "--config.calm.strength=0.25",
    f"--config.model.path={base}",
  ]
  # ml_collections reads the program's own arguments
  monkeypatch.setattr(sys, "argv", ["main", *arguments])
  main(arguments)
  rows = numbers(folder / "run")
  assert rows[-1]["rollout_step"] == 2
  assert "val/reward/pass@4" in rows[0]
  assert rows[1]["calm/loss"] > 0
  assert "calm/gradient_change" in rows[1]
  config = json.loads((folder / "run" / "config.json").read_text())
  assert config["task"]["name"] == "mine.py:reward"
  assert config["calm"] == {"strength": 0.25}


@pytest.mark.slow
@pytest.mark.usefixtures("one_device", "session_data")
def test_the_notebook_of_the_page_trains_and_resumes_only_as_itself(
  folder, monkeypatch
):
  base = write_base(folder / "base")
  names = {"problems": {"train": ROWS, "validation": ROWS}}
  exec(compile(blocks()[0], "README.md", "exec"), names)
  from configs import grpo

  tiny = tiny_config(base)
  monkeypatch.setattr(grpo, "get_config", lambda preset: tiny)
  names["__name__"] = "notebook"
  cell = blocks()[1].replace("runs/mine", str(folder / "run"))
  exec(compile(cell, "README.md", "exec"), names)
  rows = numbers(folder / "run")
  assert rows[-1]["rollout_step"] == 2
  assert rows[1]["calm/loss"] > 0
  recorded = json.loads((folder / "run" / "config.json").read_text())
  assert recorded["objective"][1].endswith("calm.<locals>.objective:calm")
  other = lambda prompt, response: 1.0
  with pytest.raises(ValueError, match=r"cannot resume .* task\.name was"):
    entrojax.train(tiny, folder / "run", task=(other, names["problems"]))
