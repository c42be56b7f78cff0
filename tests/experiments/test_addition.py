"""The sums: no pair is in two files, and only the number alone is right."""

import json

import pytest

from configs import addition as config
from entrojax.tasks import make_task
from experiments import addition


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Write the files as the command does."""
  output = tmp_path_factory.mktemp("addition")
  addition.write(output)
  return output


def pairs(folder, split):
  """Return the numbers of each problem of a split, and its answer."""
  lines = (folder / f"{split}.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  sums = [row["question"].splitlines()[-1] for row in rows]
  numbers = [tuple(map(int, text.rstrip("=").split("+"))) for text in sums]
  return numbers, [int(row["answer"]) for row in rows]


def test_every_pair_is_in_one_file_in_both_orders(folder):
  train, validation = (pairs(folder, name)[0] for name in addition.SPLITS)
  assert len(train) + len(validation) == 29 * 29
  assert len({*train, *validation}) == 29 * 29
  for split in (train, validation):
    assert {(b, a) for a, b in split} == set(split)


def test_answers_are_the_sums(folder):
  for split in addition.SPLITS:
    numbers, answers = pairs(folder, split)
    assert answers == [a + b for a, b in numbers]


@pytest.mark.parametrize(
  "form, reward", [("{}", 1), (" {} ", 1), ("{}1", 0), ("0", 0), ("", 0)]
)
@pytest.mark.parametrize("preset", ["", "bare"])
def test_the_number_alone_is_right(folder, form, reward, preset):
  task = make_task(config.get_config(preset).task.name, str(folder))
  for problem in task.load("validation")[:20]:
    gold = problem.answer["gold"][0]
    assert task.verify(problem, form.format(gold)).reward == reward


@pytest.mark.parametrize(
  "form", ["{} Now multiply", "{}\nNow", "7+7=14, {}", "={}", "{} {}", "{}."]
)
def test_words_around_the_number_cost_the_reward_with_the_preset_bare(
  folder, form
):
  strict, kept = (
    make_task(config.get_config(preset).task.name, str(folder))
    for preset in ("bare", "")
  )
  for problem in strict.load("validation")[:20]:
    response = form.format(*problem.answer["gold"] * 2)
    assert strict.verify(problem, response).reason == "no answer"
    assert kept.verify(problem, response).reward == 1
