"""Independent checks all run, and one error has what they refuse."""

import pytest

from entrojax.assembly.check_evaluation import check_evaluation
from entrojax.assembly.check_run import check_run, completing
from entrojax.assembly.check_settings import check
from entrojax.assembly.run import build
from entrojax.system.refusals import RefusedError, gathered
from tests.helpers.system import tiny_config


def refuse(text):
  """Raise the ValueError of a check."""
  raise ValueError(text)


def lines_of(error):
  """Return the lines of a message."""
  return str(error.value).splitlines()


# -- the list ------------------------------------------------------------------


def test_checks_that_pass_raise_nothing():
  with gathered() as each:
    assert each(int, "1")


def test_a_single_refusal_is_raised_as_it_is():
  error = FileNotFoundError("no file x")

  def check_file():
    raise error

  with pytest.raises(FileNotFoundError) as raised, gathered() as each:
    assert not each(check_file)
    assert each(int, "1")
  assert raised.value is error


def test_several_refusals_are_numbered_one_in_each_line():
  with pytest.raises(RefusedError) as raised, gathered() as each:
    each(refuse, "a is wrong")
    each(refuse, "b is wrong")
  assert lines_of(raised) == [
    "2 settings are wrong:",
    "  1. a is wrong",
    "  2. b is wrong",
  ]


def test_lists_in_lists_are_one_list_and_equal_refusals_count_once():
  def check_both():
    with gathered() as each:
      each(refuse, "a")
      each(refuse, "b")

  with pytest.raises(RefusedError) as raised, gathered() as each:
    each(refuse, "b")
    each(check_both)
    each(refuse, "c")
  assert raised.value.messages == ("b", "a", "c")


def test_a_check_may_stumble_over_what_another_one_refused():
  with pytest.raises(ValueError, match=r"^x is 0$"), gathered() as each:
    each(refuse, "x is 0")
    assert not each(divmod, 1, 0)


def test_a_check_that_stumbles_alone_is_a_fault_of_the_program():
  with pytest.raises(ZeroDivisionError), gathered() as each:
    each(divmod, 1, 0)


# -- configs -------------------------------------------------------------------

APART = {  # setting -> (a wrong value, a part of its message)
  "rollout.group_size": (1, "rollout.group_size must be at least 2, got 1"),
  "checkpoint.keep": (0, "checkpoint.keep must be at least 1, got 0"),
  "alarms.collapse": ("halt", "alarms.collapse must be one of"),
  "objective": (("ppo_clop",), "did you mean 'ppo_clip'"),
  "advantage": (("grop",), "advantage: there is no 'grop'"),
  "optimizer.learning_rate": (0.0, "optimizer.learning_rate must be above 0"),
  "aggregation": ("token_mean", "aggregation must be one of"),
  "mesh": ((3, 1, 1), "needs 3 devices"),
  "task.name": ("countdwon", "did you mean 'countdown'"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("session_data", "one_device")
def test_wrong_settings_of_all_parts_are_named_at_once(base):
  wrong = {key: value for key, (value, _) in APART.items()}
  with pytest.raises(RefusedError) as raised:
    build(tiny_config(base, **wrong))
  head, *lines = lines_of(raised)
  assert head == f"{len(APART)} settings are wrong:"
  for _, message in APART.values():
    assert sum(message in line for line in lines) == 1, message


@pytest.mark.slow
@pytest.mark.usefixtures("session_data", "one_device")
@pytest.mark.parametrize("key", APART)
def test_one_wrong_setting_among_right_ones_has_a_message_of_one_line(
  key, base
):
  value, message = APART[key]
  with pytest.raises(ValueError, match=r"\w") as raised:
    build(tiny_config(base, **{key: value}))
  (line,) = lines_of(raised)
  assert message in line


@pytest.mark.slow
@pytest.mark.usefixtures("session_data", "one_device")
def test_arguments_of_several_methods_are_named_at_once(base):
  wrong = {
    "ppo_clip.clip_low": 1.5,
    "advantage": ("grpo", "grpo_dropout"),
    "grpo_dropout.centre": "middle",
    "optimizer.b1": 2.0,
  }
  with pytest.raises(RefusedError) as raised:
    check_run(tiny_config(base, **wrong))
  names = {message.split()[0] for message in raised.value.messages}
  assert names == wrong.keys() - {"advantage"}


@pytest.mark.slow
@pytest.mark.usefixtures("session_data", "one_device")
def test_a_missing_model_and_missing_problems_are_named_at_once(base, tmp_path):
  config = tiny_config(base)
  config.model.path = str(tmp_path / "model")
  config.rollout.group_size = 1
  with pytest.raises(RefusedError) as raised:
    build(config)
  assert len(raised.value.messages) == 2
  config = tiny_config(base)
  config.task.update({"name": "math/gsm8k", "data_dir": str(tmp_path / "no")})
  config.optimizer.learning_rate = 0.0
  with pytest.raises(RefusedError) as raised:
    build(config)
  first, second = raised.value.messages
  assert first.startswith("optimizer.learning_rate")
  assert str(tmp_path / "no") in second


def test_a_check_of_numbers_names_all_that_are_out_of_range(base):
  wrong = {"evaluation.num_samples": 0, "rollout.response_length": 0}
  config = tiny_config(base, **wrong)
  with pytest.raises(RefusedError) as raised:
    check_evaluation(config)
  assert set(raised.value.messages) == {
    f"{key} must be at least 1, got 0" for key in wrong
  }
  with pytest.raises(RefusedError):
    check(config)


@pytest.mark.slow
@pytest.mark.usefixtures("session_data", "one_device")
def test_what_was_refused_first_stands_first(base):
  config = tiny_config(base, **{"rollout.group_size": 1})
  with pytest.raises(RefusedError) as raised, completing(config):
    refuse("--flag is wrong")
  first, second = raised.value.messages
  assert first == "--flag is wrong"
  assert second.startswith("rollout.group_size")
