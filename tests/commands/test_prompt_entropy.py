"""The table of prompts: its numbers, how it is resumed, its refusals."""

from collections import Counter
import itertools
import json
import math
import zlib

import numpy as np
import pytest

from entrojax import prompt_entropy
from entrojax.assembly import data
from entrojax.data import prompt_table
from entrojax.prompt_entropy import write_table
from entrojax.types import Verdict
from tests.helpers.system import tiny_config

pytestmark = pytest.mark.slow

NUM_ROWS, SAMPLES = 20, 4  # two batches of eight prompts and half a one


@pytest.fixture
def verdicts(monkeypatch, one_device, session_data):
  """Turn each answer into one of three letters; keep verdicts by prompt."""
  kept: dict[str, list[Verdict]] = {}
  make_task = data.make_task

  def verify(problem, response):
    answer = "abc"[zlib.crc32(response.encode()) % 3]
    verdict = Verdict(float(answer == "a"), "", answer)
    kept.setdefault(problem.prompt, []).append(verdict)
    return verdict

  monkeypatch.setattr(
    data,
    "make_task",
    lambda *args, **options: make_task(*args, **options)._replace(
      verify=verify
    ),
  )
  return kept


def config_of(base, **overrides):
  return tiny_config(
    base, **{"task.train_split": f"train[:{NUM_ROWS}]", **overrides}
  )


def test_a_table_has_the_numbers_of_the_sampled_answers(
  verdicts, base, tmp_path, monkeypatch
):
  rollouts, config = [], config_of(base)
  problems = data.open_task(config).load(config.task.train_split)
  inner = prompt_entropy.build_sampler

  def build_sampler(*args):
    sample, params = inner(*args)

    def generate(*args):
      rollouts.append(sample(*args))
      return rollouts[-1]

    return generate, params

  monkeypatch.setattr(prompt_entropy, "build_sampler", build_sampler)
  path = tmp_path / "table.jsonl"
  steps = list(
    write_table(config, path, num_samples=SAMPLES, estimator="count")
  )
  assert steps == [(0, 20), (8, 20), (16, 20), (20, 20)]
  table = prompt_table.read(path)
  semantic = []
  for row, problem in enumerate(problems):
    group = verdicts[problem.prompt][:SAMPLES]  # the rest fills the batch up
    shares = [n / SAMPLES for n in Counter(v.answer for v in group).values()]
    semantic.append(-sum(p * math.log(p) for p in shares))
    right = sum(v.reward for v in group) / SAMPLES
    assert table.columns["accuracy"][row] == right
    rollout, first = rollouts[row // 8], row % 8 * SAMPLES
    tokens = [
      float(rollout.entropy[r, t])
      for r in range(first, first + SAMPLES)
      for t in range(rollout.entropy.shape[1])
      if rollout.response_mask[r, t]
    ]
    # float32 sums in two orders
    assert table.columns["entropy"][row] == pytest.approx(
      np.mean(tokens), rel=1e-5
    )
  # float32 logarithms
  np.testing.assert_allclose(
    table.columns["semantic_entropy"], semantic, rtol=1e-5, atol=1e-6
  )
  assert len(set(semantic)) > 2
  assert table.settings["rollout"]["group_size"] == SAMPLES


def test_a_prompt_that_the_run_would_drop_has_no_numbers(
  verdicts, base, tmp_path, monkeypatch
):
  config = config_of(base, **{"prompt.too_long": "drop"})
  tokenizer = data.load_tokenizer(config, base)
  problems = data.open_task(config).load(config.task.train_split)
  dropped = np.array([zlib.crc32(p.prompt.encode()) % 3 == 0 for p in problems])
  assert 0 < dropped.sum() < NUM_ROWS and dropped[0]
  template = lambda text: text * (1 + (zlib.crc32(text.encode()) % 3 == 0))
  for module in (data, prompt_entropy):
    monkeypatch.setattr(module, "make_template", lambda *_: template)
  lengths = [len(tokenizer.encode_prompt(template(p.prompt))) for p in problems]
  config.rollout.prompt_length = max(lengths) - 1
  path = tmp_path / "table.jsonl"
  with pytest.warns(UserWarning, match="and are left out"):
    list(write_table(config, path, num_samples=SAMPLES))
  columns = prompt_table.read(path).columns
  for name in prompt_table.COLUMNS:
    np.testing.assert_array_equal(np.isnan(columns[name]), dropped)
  count = NUM_ROWS - dropped.sum()
  assert prompt_entropy.summary(columns).startswith(f"{count} prompts: ")
  config.curriculum.table = str(path)
  with pytest.warns(UserWarning, match="and are left out"):
    stages = data.read_data(config, base).stages
  assert (
    sum(stream.state()["num_problems"] for stream in stages.streams) == count
  )
  # a run that leaves no prompt out needs the numbers of all
  config.rollout.prompt_length += 1
  with pytest.raises(ValueError, match=r"has no entropy for .* of the 20"):
    data.read_data(config, base)


def test_a_table_in_two_parts_is_the_table_in_one(verdicts, base, tmp_path):
  whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
  list(write_table(config_of(base), whole, num_samples=SAMPLES))
  lines = whole.read_bytes().splitlines(keepends=True)
  # as if killed in the second batch, while writing the line of row 11
  parts.write_bytes(b"".join(lines[:12]) + lines[12][:9])
  steps = list(write_table(config_of(base), parts, num_samples=SAMPLES))
  assert steps == [(8, 20), (16, 20), (20, 20)]
  assert parts.read_bytes() == whole.read_bytes()
  assert list(write_table(config_of(base), parts, num_samples=SAMPLES)) == [
    (20, 20)
  ]
  assert parts.read_bytes() == whole.read_bytes()


def test_a_prompt_s_numbers_do_not_depend_on_the_batch_around_it(
  verdicts, base, tmp_path
):
  tables = []
  for num_prompts in (8, 4):
    path = tmp_path / f"{num_prompts}.jsonl"
    config = config_of(base, **{"rollout.num_prompts": num_prompts})
    list(write_table(config, path, num_samples=SAMPLES))
    tables.append(prompt_table.read(path).columns)
  for name, column in tables[0].items():
    # the samples are the same; matmuls of two shapes round differently
    np.testing.assert_allclose(column, tables[1][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
  ("overrides", "samples", "message"),
  [
    (
      {"rollout.temperature": 0.5},
      4,
      r"rollout\.temperature was 1\.0, is 0\.5",
    ),
    ({"seed": 1}, 4, "seed was 0, is 1"),
    ({"clusters.unparsed": "drop"}, 4, r"clusters\.unparsed was 'singleton'"),
    ({}, 8, r"rollout\.group_size was 4, is 8"),
    ({"task.train_split": "train[:9]"}, 4, "num_rows was 20, is 9"),
  ],
)
def test_a_table_of_other_settings_is_refused(
  overrides, samples, message, verdicts, base, tmp_path
):
  path = tmp_path / "table.jsonl"
  next(write_table(config_of(base), path, num_samples=4))
  before = path.read_bytes()
  with pytest.raises(ValueError, match=message):
    next(write_table(config_of(base, **overrides), path, num_samples=samples))
  assert path.read_bytes() == before


def test_an_unknown_estimator_ends_before_the_file_is_made(
  verdicts, base, tmp_path
):
  path = tmp_path / "table.jsonl"
  with pytest.raises(ValueError, match="estimator must be one of"):
    list(write_table(config_of(base), path, num_samples=4, estimator="roa"))
  assert not path.exists()


def written(path, count, num_rows=None):
  """Write a table of `count` rows by hand."""
  prompt_table.begin(
    path, {"seed": 0}, num_rows=num_rows or count, batch_size=1
  )
  names = prompt_table.COLUMNS
  for row in range(count):
    values = dict(zip(names, itertools.repeat(0.5 * row), strict=False))
    prompt_table.append(path, [{"row": row, **values}])


def test_what_was_written_is_read(tmp_path):
  written(tmp_path / "table", 3)
  table = prompt_table.read(tmp_path / "table")
  assert table.settings == {"seed": 0}
  for name in prompt_table.COLUMNS:
    assert table.columns[name].tolist() == [0, 0.5, 1]


def test_an_unfinished_table_is_not_read(tmp_path):
  written(tmp_path / "table", 3, num_rows=5)
  with pytest.raises(ValueError, match="table holds only 3 of 5 prompts"):
    prompt_table.read(tmp_path / "table")


@pytest.mark.parametrize(
  "line",
  [
    "{",
    "[]",
    '{"row": 1, "entropy": 1, "accuracy": 1}',
    '{"row": 2, "semantic_entropy": 1, "entropy": 1, "accuracy": 1}',
    '{"row": 1, "semantic_entropy": NaN, "entropy": 1, "accuracy": 1}',
    '{"row": 1, "semantic_entropy": null, "entropy": 1, "accuracy": 1}',
  ],
)
def test_a_line_that_is_not_its_row_s_is_named(line, tmp_path):
  path = tmp_path / "table"
  written(path, 3)
  lines = path.read_text().splitlines()
  path.write_text("\n".join([*lines[:2], line, *lines[3:]]) + "\n")
  with pytest.raises(ValueError, match="table:3: not the line of row 1"):
    prompt_table.read(path)


@pytest.mark.parametrize(
  "text",
  ["not JSON\n", "[]\n", json.dumps({"settings": 1, "num_rows": 1}), "3\n"],
)
def test_another_file_is_neither_read_nor_written_to(text, tmp_path):
  path = tmp_path / "other"
  path.write_text(text)
  with pytest.raises(ValueError, match="other is not a table of prompts"):
    prompt_table.read(path)
  with pytest.raises(ValueError, match="other is not a table of prompts"):
    prompt_table.begin(path, {}, num_rows=1, batch_size=1)
  assert path.read_text() == text


def test_a_table_that_is_not_there_is_named(tmp_path):
  with pytest.raises(ValueError, match="absent: there is no such table"):
    prompt_table.read(tmp_path / "absent")
