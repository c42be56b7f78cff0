"""A subset of prompts: how it is chosen, and that a run trains on it only."""

import itertools
import json

import numpy as np
import pytest

from entrojax import choose_prompts
from entrojax.answers.diversity import distinct_n, ngram_embedding, spread_rows
from entrojax.assembly.run import build
from entrojax.choose_prompts import choose
from entrojax.data import prompt_subset
from entrojax.types import Problem
from tests.helpers.commands import run_command
from tests.helpers.system import tiny_config, write_prompt_table

pytestmark = [
  pytest.mark.usefixtures("one_device", "session_data"),
  pytest.mark.slow,
]


# -- diversity ----------------------------------------------------------------


def test_distinct_n_counts_as_by_hand():
  texts = ["a b a, b", "a"]  # words: a b a , b | a
  assert distinct_n(texts, 1) == 3 / 6
  assert distinct_n(["a b a b"], 2) == 2 / 3  # ab, ba, ab
  assert distinct_n(["x-1"], 2) == 1  # x -, - 1
  assert distinct_n(["a", ""], 2) == 0


def test_the_embedding_is_tf_idf_of_hashed_ngrams():
  """Compare with plain Python, whose integers do not wrap around."""
  texts = ["Abcabc", "abd é", "xy", ""]
  counts = np.zeros((4, 1024))
  for row, text in enumerate(texts):
    data = text.lower().encode()
    for n, start in itertools.product((3, 4, 5), range(len(data))):
      if start + n > len(data):
        continue
      code = 0
      for byte in data[start : start + n]:
        code = (code + byte + 1) * 0x9E3779B97F4A7C15 % 2**64
        code ^= code >> 29
      counts[row, code % 1024] += 1
  assert counts.sum(axis=1).tolist() == [4 + 3 + 2, 4 + 3 + 2, 0, 0]
  frequency = np.maximum((counts > 0).sum(axis=0), 1)
  expected = np.log(1 + counts) * np.log(4 / frequency)
  lengths = np.linalg.norm(expected, axis=1, keepdims=True)
  expected = expected / np.where(lengths > 0, lengths, 1)
  np.testing.assert_allclose(ngram_embedding(texts), expected, atol=1e-6)


def test_each_wording_gets_one_of_the_chosen():
  names = ("Tom", "Ann", "Ravi", "Eva", "Nils")
  texts = [
    template.format(name)
    for name in names
    for template in (
      "How many apples has {} after lunch?",
      "Solve the equation x^2 = 4 for {}'s homework.",
      "At what speed does the train of {} go?",
    )
  ]
  for seed in range(3):
    rows = spread_rows(ngram_embedding(texts), 3, seed=seed)
    assert sorted(row % 3 for row in rows.tolist()) == [0, 1, 2]


def test_of_each_cluster_the_row_nearest_to_its_mean_is_chosen():
  rng = np.random.default_rng(0)
  centres = 100 * np.eye(5)  # far apart: every seed finds these clusters
  labels = rng.permutation(np.repeat(np.arange(5), 8))
  points = centres[labels] + rng.normal(size=(40, 5))
  expected = []
  for label in range(5):
    members = np.flatnonzero(labels == label)
    away = points[members] - points[members].mean(axis=0)
    expected.append(members[np.square(away).sum(axis=1).argmin()])
  for seed in range(3):
    rows = spread_rows(points, 5, seed=seed)
    assert rows.tolist() == sorted(expected)


def test_rows_are_distinct_whatever_is_equal():
  points = np.repeat(np.eye(3), 4, axis=0)  # 12 rows, 3 of them different
  for size in (1, 3, 7, 12):
    rows = spread_rows(points, size, seed=0)
    assert len(set(rows.tolist())) == size
  assert {row // 4 for row in spread_rows(points, 3, seed=0)} == {0, 1, 2}
  with pytest.raises(ValueError, match=r"size must lie in \[1, 12 rows\]"):
    spread_rows(points, 13, seed=0)
  with pytest.raises(ValueError, match="not finite"):
    spread_rows(np.array([[np.nan]]), 1, seed=0)


# -- choosing -----------------------------------------------------------------


def test_the_same_choice_is_made_again(base):
  config = tiny_config(base)
  problems = [Problem(f"{i * i} {i % 7} 5=24:", {}) for i in range(60)]
  for by in ("random", "embedding"):
    rows = choose(config, problems, size=9, by=by).tolist()
    assert rows == choose(config, problems, size=9, by=by).tolist()
    assert len(set(rows)) == 9 and rows == sorted(rows)
    config.seed += 1
    assert rows != choose(config, problems, size=9, by=by).tolist()
  with pytest.raises(ValueError, match=r"--size must lie in \[1, 60 problems"):
    choose(config, problems, size=61, by="random")


def test_the_most_different_answers_are_those_of_highest_entropy(
  base, tmp_path
):
  config = tiny_config(base, **{"task.train_split": "train[:6]"})
  problems = [Problem(str(i), {}) for i in range(6)]
  table = tmp_path / "table"
  write_prompt_table(table, config, [0.1, 2.0, 0.5, 2.0, 0.0, 0.5])
  how = {"by": "answers", "table": str(table)}
  assert choose(config, problems, size=3, **how).tolist() == [1, 2, 3]
  with pytest.raises(ValueError, match="answers needs --table"):
    choose(config, problems, size=3, by="answers")
  config.task.train_split = "train[6:12]"
  with pytest.raises(ValueError, match=r"was made with task\.train_split"):
    choose(config, problems, size=3, **how)


def test_a_prompt_without_an_entropy_is_not_chosen(base, tmp_path, monkeypatch):
  config = tiny_config(base)
  entropies = np.array([np.nan, 0.5, 2.0])
  monkeypatch.setattr(choose_prompts, "read_entropies", lambda *_: entropies)
  problems = [Problem(str(i), {}) for i in range(3)]
  how = {"by": "answers", "table": str(tmp_path)}
  assert choose(config, problems, size=2, **how).tolist() == [1, 2]
  with pytest.raises(ValueError, match=r"--size must be at most 2, .* got 3"):
    choose(config, problems, size=3, **how)


# -- training on it -----------------------------------------------------------


def trained_on(base, path, **overrides):
  """Build a run of 20 problems; return the prompts of each of its stages."""
  config = tiny_config(
    base,
    **{
      "task.train_split": "train[:20]",
      "task.subset": str(path),
      "rollout.num_prompts": 4,
      **overrides,
    },
  )
  run = build(config)
  return [
    {p.prompt for _ in range(5) for p in next(stream)[1]}
    for stream in run.data.stages.streams
  ], run.data.task.load("train[:20]")


@pytest.fixture
def subset(base, tmp_path):
  """Return the file of a subset of the first 20 problems, and its rows."""
  from entrojax.tasks import make_task

  rows = np.array([2, 3, 5, 7, 11, 13, 17, 19])
  path = tmp_path / "subset.jsonl"
  problems = make_task("countdown").load("train[:20]")
  prompt_subset.write(path, rows, problems, {"by": "hand"})
  return path, rows


def test_a_run_trains_on_the_subset_alone(base, subset):
  (prompts,), problems = trained_on(base, subset[0])
  assert prompts == {problems[row].prompt for row in subset[1]}


def test_stages_are_made_of_the_subset(base, subset, tmp_path):
  config = tiny_config(base, **{"task.train_split": "train[:20]"})
  table = tmp_path / "table"
  write_prompt_table(table, config, [20 - row for row in range(20)])
  (low, high), problems = trained_on(
    base,
    subset[0],
    **{"curriculum.table": str(table), "curriculum.steps_per_stage": 1},
  )
  assert low == {problems[row].prompt for row in (11, 13, 17, 19)}
  assert high == {problems[row].prompt for row in (2, 3, 5, 7)}


def edited(change):
  def edit(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

  return edit


@pytest.mark.parametrize(
  ("edit", "message"),
  [
    (edited(lambda l: l[0].update(num_rows=19)), "from 19 .* has 20"),
    (edited(lambda l: l.pop()), "holds 7 of 8 prompts"),
    (edited(lambda l: l[1].update(prompt="1 2=3:")), ":2: the prompt of row 2"),
    (edited(lambda l: l[1].update(row=20)), ":2: not the line of a prompt"),
    (edited(lambda l: l[2].update(row=True)), ":3: not the line of a prompt"),
    (edited(lambda l: l[2].pop("prompt")), ":3: not the line of a prompt"),
    (edited(lambda l: l.insert(2, l.pop(3))), ":4: row 3 does not follow 5"),
    (lambda path: path.write_text("{"), "is no subset of prompts"),
    (lambda path: path.write_text(""), "is no subset of prompts"),
    (lambda path: path.unlink(), "there is no such file"),
  ],
)
def test_a_subset_that_does_not_fit_is_refused(edit, message, base, subset):
  edit(subset[0])
  with pytest.raises(ValueError, match=message) as error:
    trained_on(base, subset[0])
  assert str(error.value).startswith(f"task.subset {subset[0]}")


def test_the_command_writes_what_a_run_reads(base, tmp_path, data_dir):
  def run(name, *arguments):
    return run_command(
      "entrojax.choose_prompts",
      "--config=configs/countdown.py:test",
      "--config.task.train_split=train[:20]",
      f"--output={tmp_path / name}",
      *arguments,
    )

  done = run("subset.jsonl", "--size=6")
  assert done.returncode == 0, done.stderr
  assert "6 of 20 prompts by embedding" in done.stdout
  assert "distinct-2 " in done.stdout and "of random sets" in done.stdout
  (prompts,), _ = trained_on(base, tmp_path / "subset.jsonl")
  assert len(prompts) == 6
  again = run("subset.jsonl", "--size=7")
  assert again.returncode == 2
  assert again.stderr.endswith(
    "subset.jsonl exists already: choose another --output\n"
  )
  failed = run("other.jsonl", "--size=21")
  assert failed.returncode == 2
  assert failed.stderr == "error: --size must lie in [1, 20 problems], got 21\n"
