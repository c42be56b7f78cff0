r"""Data files as they are published: shards, Hub names, columns and odd rows.

Each test is a kind of input that was refused, or read wrongly in silence.
"""

import json
import warnings

import pytest

from entrojax.prepare_data import prepare
from entrojax.tasks import files, make_task, math_data, synlogic
from tests.tasks.test_math_data import ROWS, write
from tests.tasks.test_synlogic import row as synlogic_row

FUTOSHIKI = {
  "data_source": "futoshiki",
  "prompt": [{"role": "user", "content": "q"}],
  "extra_info": {
    "game_data_str": json.dumps(
      {
        "question": "2 X\nX X",
        "answer": [[1, 2], [2, 1]],
        "metadata": {"grid_size": 2, "constraints": []},
      }
    )
  },
}


def without_metadata(row):
  """Return a row whose game lacks what the verifier needs."""
  game = {"question": "q", "answer": [[1, 2], [2, 1]], "metadata": {}}
  return row | {"extra_info": {"game_data_str": json.dumps(game)}}


# -- odd rows ------------------------------------------------------------------


def test_a_field_that_no_verifier_reads_may_have_any_type(tmp_path):
  contents = synlogic.read(write(tmp_path / "train.jsonl", [FUTOSHIKI]))
  assert not contents.unreadable
  (problem,) = contents.problems
  verdict = synlogic.verify(problem, "[[2 1, 1 2]]")
  assert (verdict.reward, verdict.reason) == (1.0, "correct")


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
def test_one_odd_row_of_synlogic_is_counted_and_the_others_are_used(
  name, tmp_path
):
  rows = [*[synlogic_row("sudoku")] * 20, without_metadata(FUTOSHIKI)]
  path = write(tmp_path / name, rows)
  message = (
    r"1 that cannot be read \(the first: .*row 20: column extra_info: "
    r"game_data_str of a futoshiki: no 'grid_size'"
  )
  with pytest.warns(UserWarning, match=message):
    assert len(make_task("synlogic", tmp_path).load("train")) == 20
  with pytest.raises(ValueError, match=r"row 0: .*; 1 of 1 rows cannot be"):
    synlogic.read(write(path, [without_metadata(FUTOSHIKI)]))


def test_one_odd_row_of_mathematics_is_counted_and_the_others_are_used(
  tmp_path,
):
  write(tmp_path / "train.jsonl", [*ROWS, {"problem": 7, "answer": "7"}])
  message = r"1 that cannot be read \(the first: .*row 40: column problem is 7"
  with pytest.warns(UserWarning, match=message):
    assert len(make_task("math", tmp_path).load("train")) == len(ROWS)


def test_more_odd_rows_than_a_twentieth_refuse_the_split(tmp_path):
  odd = [{"problem": "p"}] * 3
  path = write(tmp_path / "train.jsonl", [*ROWS, *odd])
  message = "row 40: column answer is missing, .*; 3 of 43 rows cannot be read"
  with pytest.raises(ValueError, match=message):
    math_data.read(path)


# -- shards and splits ---------------------------------------------------------


def publish(folder, *, leaked=0):
  """Write a folder as data sets are published; `leaked` rows are in both."""
  folder.mkdir(parents=True, exist_ok=True)
  write(folder / "train-00000-of-00002.parquet", ROWS[:10])
  write(folder / "train-00001-of-00002.parquet", ROWS[10:20])
  test = ROWS[20 - leaked : 30]
  write(folder / "test-00000-of-00001-5f9a2b3c.parquet", test)
  return folder


@pytest.mark.parametrize("inner", ["", "data"])
def test_shards_are_one_split_by_the_published_names(inner, tmp_path):
  publish(tmp_path / inner)
  load = make_task("math", tmp_path).load
  with warnings.catch_warnings():
    warnings.simplefilter("error")  # nothing is left out or shared
    train, test = load("train"), load("test")
  assert [p.prompt for p in train] == [row["problem"] for row in ROWS[:20]]
  assert [p.prompt for p in test] == [row["problem"] for row in ROWS[20:30]]
  assert train[12].answer["id"] == "train-00001-of-00002:2"
  assert train[12].answer["source"] == "train"


@pytest.mark.parametrize("published", ["valid", "val", "dev", "validation"])
def test_a_split_is_found_by_its_names_on_the_hub(published, tmp_path):
  write(tmp_path / f"{published}.jsonl", ROWS[:3])
  assert len(make_task("math", tmp_path).load("validation")) == 3


def test_a_prepared_set_has_the_names_of_splits_that_a_run_looks_for(tmp_path):
  source = tmp_path / "source"
  source.mkdir()
  write(source / "training.jsonl", ROWS[:20])
  write(source / "dev.jsonl", ROWS[15:25])
  lines = []
  prepare("math", source, tmp_path / "tfds" / "set", say=lines.append)
  load = make_task("math", tmp_path / "tfds" / "set").load
  assert len(load("validation")) == 10
  assert len(load("train")) == 15  # 5 are in the validation split too
  assert "train: left out 5 problems of validation" in lines


def test_a_description_of_a_data_set_is_no_file_of_rows(tmp_path):
  publish(tmp_path / "data")
  (tmp_path / "dataset_infos.json").write_text('{"default": {}}')
  (tmp_path / "data" / "dataset_info.json").write_text("{}")
  assert len(make_task("math", tmp_path).load("train")) == 20
  assert set(files.split_files(tmp_path)) == {"train", "test"}


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
  path = write(tmp_path / "train.jsonl", ROWS[:3])
  for read in (
    lambda: prepare("synlogic", path, tmp_path / "set", say=print),
    lambda: make_task("synlogic", path).load("train"),
  ):
    with pytest.raises(ValueError, match=r"train\.jsonl is not a folder"):
      read()


def test_a_shard_that_is_missing_is_named(tmp_path):
  publish(tmp_path)
  (tmp_path / "train-00000-of-00002.parquet").unlink()
  for read in (
    lambda: files.find(tmp_path, "train"),
    lambda: files.split_files(tmp_path),
  ):
    with pytest.raises(
      ValueError, match=r"'train' has 2 shards, but \[0\] are"
    ):
      read()


def test_two_files_of_one_split_are_named(tmp_path):
  publish(tmp_path)
  write(tmp_path / "train.parquet", ROWS)
  for read in (
    lambda: files.find(tmp_path, "train"),
    lambda: files.split_files(tmp_path),
  ):
    with pytest.raises(
      ValueError, match="are one split: keep one of the files"
    ):
      read()


def test_leaks_between_shards_are_removed_when_a_set_is_prepared(tmp_path):
  lines = []
  source = publish(tmp_path / "source", leaked=4)
  prepare("math", source, tmp_path / "tfds" / "set", say=lines.append)
  assert (
    f"{source / 'train-00000-of-00002.parquet'} and 1 more: 20 rows" in lines
  )
  assert "train: left out 4 problems of test" in lines
  assert "train: 16 problems" in lines


def test_leaks_are_told_whatever_the_splits_are_called(tmp_path):
  source = tmp_path / "source"
  source.mkdir()
  write(source / "dapo-17k.jsonl", ROWS[:20])
  write(source / "aime.jsonl", ROWS[15:25])
  task = make_task("math", source)
  task.load("aime")
  with pytest.warns(
    UserWarning, match="5 of the 20 problems of 'dapo-17k' are"
  ):
    task.load("dapo-17k")
  lines = []
  prepare("math", source, tmp_path / "tfds" / "set", say=lines.append)
  assert (
    "aime and dapo-17k share 5 problems, which stay in both: no split is "
    "called train"
  ) in lines
  task = make_task("math", tmp_path / "tfds" / "set")
  task.load("aime")
  with pytest.warns(
    UserWarning, match="5 of the 20 problems of 'dapo-17k' are"
  ):
    task.load("dapo-17k")


# -- text and columns ----------------------------------------------------------


@pytest.mark.parametrize("name", ["train.jsonl", "train.json"])
def test_a_byte_order_mark_is_not_part_of_the_text(name, tmp_path):
  path = write(tmp_path / name, ROWS)
  path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
  assert len(math_data.read(path).rows) == len(ROWS)


def test_columns_may_be_written_in_capitals(tmp_path):
  rows = [{"Problem": "p", "Answer": "7", "Level": 3}]
  (row,) = math_data.read(write(tmp_path / "train.jsonl", rows)).rows
  assert (row.question, row.gold, row.level) == ("p", ("7",), 3)


@pytest.mark.parametrize("text", ["proof", "notfound", "Proof", "Not found"])
def test_a_placeholder_is_no_answer_and_is_counted(text, tmp_path):
  rows = [
    {"problem": "a", "answer": text},
    {"problem": "b", "solution": rf"\boxed{{{text}}}"},
    {"problem": "c", "answer": "7"},
  ]
  contents = math_data.read(write(tmp_path / "train.jsonl", rows))
  assert [row.question for row in contents.rows] == ["c"]
  assert contents.empty == 2


def test_the_user_chooses_columns(tmp_path):
  rows = [
    {"query": "p", "problem": "other", "key": {"value": 7}, "answer": "no"}
  ]
  write(tmp_path / "train.jsonl", rows)
  columns = ("question=query", "answer=key.value")
  (problem,) = make_task("math", tmp_path, columns=columns).load("train")
  assert (problem.prompt, problem.answer["gold"]) == ("p", ["7"])


def test_columns_that_cannot_be_read_are_named(tmp_path):
  write(tmp_path / "train.jsonl", ROWS)
  with pytest.raises(ValueError, match=r"task\.columns: 'gold=a' is not KEY="):
    make_task("math", tmp_path, columns=("gold=a",))
  task = make_task("math", tmp_path, columns=("question=query",))
  with pytest.raises(
    ValueError, match=r"row 0: column query is missing, and t"
  ):
    task.load("train")
  with pytest.raises(ValueError, match=r"only math reads columns"):
    make_task("synlogic", tmp_path, columns=("question=query",))
