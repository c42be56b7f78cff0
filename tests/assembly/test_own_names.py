"""Functions of a user's own code that a config names."""

from pathlib import Path
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

import entrojax
from entrojax.assembly.check_overrides import check_overrides
from entrojax.assembly.check_settings import check
from entrojax.assembly.data import Spec, make_template, parse_spec
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
from entrojax.assembly.own_methods import NO_METHODS, own_methods, record_names
from entrojax.system import outside
from entrojax.types import Problem, Reasoning
from tests.helpers.own_code import MINE, config_of, task_of, with_section

pytestmark = pytest.mark.usefixtures("own_code")


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


def test_a_module_is_named_by_its_dotted_name(own_code, monkeypatch):
  package = own_code / "a_package_of_mine"
  package.mkdir()
  (package / "__init__.py").write_text("")
  (package / "losses.py").write_text(MINE)
  monkeypatch.syspath_prepend(str(own_code))
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


def test_a_method_of_ones_own_may_read_all_that_a_run_provides():
  config = config_of(
    objective=("mine.py:reads_all",), advantage=("mine.py:of_parts",)
  )
  recipe = make_recipe(config)
  assert recipe.needs_reference
  assert recipe.reward_parts == ("right", "form")
  config = config_of(objective=("mine.py:loss",))
  rules = {"gdpo": entrojax.gdpo(parts=("form", "right"))}
  own = own_methods(advantage=rules)
  recipe = make_recipe(record_names(config, own, None), own)
  assert not recipe.needs_reference
  assert recipe.reward_parts == ("form", "right")


def test_a_rule_of_ones_own_may_return_lists_and_bools():
  (rule,) = make_advantage_rules(
    config_of(advantage=("mine.py:plain_lists",))
  ).values()
  responses = rule(entrojax.Responses(rewards=jnp.eye(2)))
  assert responses.advantages.dtype == responses.keep.dtype == jnp.float32
  assert responses.advantages.tolist() == [[1.0, 1.0], [1.0, 1.0]]
  assert responses.keep.tolist() == [[1.0, 0.0], [0.0, 1.0]]


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


def test_a_controller_that_nothing_reads_is_named():
  config = config_of(objective=("ppo_clip", "mine.py:driven"))
  config.control.update({"name": "mine.py:feedback", "target": 0.5})
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    make_recipe(config)  # the member reads the coefficient
    make_recipe(config_of())  # no controller sets one
  config.objective = ("ppo_clip",)
  message = "'mine.py:feedback', and no member of objective reads its coef"
  with pytest.warns(UserWarning, match=message):
    make_recipe(config)
  own = own_methods(controller=entrojax.entropic_pi(target=0.5))
  with pytest.warns(UserWarning, match="no member of objective reads its coef"):
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


def test_nothing_is_imported_unless_it_is_named(own_code):
  (own_code / "untouched.py").write_text("raise SystemError('was imported')")
  config = config_of(objective=("ppo_clip", "mine.py:loss"))
  make_recipe(config)
  config.objective = ("ppo_clip", "untouched.py:loss")
  with pytest.raises(ValueError, match="SystemError: was imported"):
    make_recipe(config)


def test_a_file_that_has_changed_gives_another_function(own_code):
  config = config_of(objective=("mine.py:loss",))
  first, same = (outside_functions(config, NO_METHODS) for _ in range(2))
  assert first == same
  (own_code / "mine.py").write_text(MINE + "\n")
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
    r"shape \(\); expected the shape of the tokens, \(2, 3\)",
  ),
  "a weight that would broadcast": (
    {"objective": ("mine.py:row_weight",)},
    r"^objective: mine\.py:row_weight returned a term whose weight has the "
    r"shape \(2, 1\); expected the shape of the tokens, \(2, 3\)",
  ),
  "a metric that is no Mean": (
    {"objective": ("mine.py:plain_metric",)},
    r"^objective: mine\.py:plain_metric returned as the metric 'a/x' a value "
    "of type Array; expected a Mean: build it with mean_metric, ",
  ),
  "a metric of tokens": (
    {"objective": ("mine.py:wide_metric",)},
    r"^objective: mine\.py:wide_metric returned the metric 'a/x', whose total "
    r"has the shape \(2, 3\) and whose count has the shape \(2, 3\)",
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
  "advantages of another shape": (
    {"advantage": ("mine.py:row_means",)},
    r"^advantage: mine\.py:row_means returned advantages of the shape \(3,\); "
    r"expected the shape of the rewards, \(3, 8\)",
  ),
  "a mask that is no array": (
    {"advantage": ("mine.py:no_numbers",)},
    r"^advantage: mine\.py:no_numbers returned keep that are no array of "
    "numbers, 'all'",
  ),
  "a state that grows": (
    {"control.name": "mine.py:growing"},
    r"^control\.name: mine\.py:growing has a state that its update changes "
    r"from \(\) to \(float32\[\],\); expected the same structure",
  ),
  "a state that changes its type": (
    {"control.name": "mine.py:counting"},
    r"from \{count: int32\[\]\} to \{count: float32\[\]\}",
  ),
  "two coefficients": (
    {"control.name": "mine.py:pair"},
    r"^control\.name: mine\.py:pair has a coefficient of \(float32\[\], ",
  ),
  "metrics without names": (
    {"control.name": "mine.py:listed"},
    r"^control\.name: mine\.py:listed has metrics of type list; expected a di",
  ),
  "a metric that is a text": (
    {"control.name": "mine.py:worded"},
    r"^control\.name: mine\.py:worded raised TypeError: ((?!/).)*$",
  ),
  "a metric that is no number": (
    {"control.name": "mine.py:wide"},
    r"^control\.name: mine\.py:wide has the metric 'wide/x' of shape \(3,\)",
  ),
  "a coefficient of another shape": (
    {"control.name": "mine.py:vector"},
    r"^control\.name: mine\.py:vector has a coefficient of shape \(3,\)",
  ),
  "an aggregation of another shape": (
    {"aggregation": "mine.py:no_total"},
    r"^aggregation: mine\.py:no_total returned an array of shape \(2, 3\)",
  ),
  "an aggregation that is a number for one token only": (
    {"aggregation": "mine.py:squeezed"},
    r"^aggregation: mine\.py:squeezed returned an array of shape \(2, 3\)",
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
