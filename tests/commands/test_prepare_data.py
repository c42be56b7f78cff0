"""Local files as a TFDS data set: the same problems, readable in any order."""

import sys

import pytest
import tensorflow_datasets as tfds

from entrojax.data import prompt_stream, tokenizer
from entrojax.prepare_data import main, prepare
from entrojax.tasks import files, make_task
from tests.tasks.test_math_data import LAYOUTS, ROWS, write
from tests.tasks.test_synlogic import row as synlogic_row

pytestmark = pytest.mark.slow

QUIET = lambda text: None


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """Write a folder with every layout, repeated and empty rows, and a leak."""
  folder = tmp_path_factory.mktemp("source")
  broken = [ROWS[7], {"problem": ROWS[8]["problem"], "answer": 9}]
  broken += [{"problem": "p", "answer": None}] * 3
  write(folder / "train.parquet", [*ROWS, *broken])
  write(folder / "aime-2024.json", [ROWS[5], ROWS[30]])
  for name, (row, _) in LAYOUTS.items():
    write(folder / f"{''.join(filter(str.isalnum, name))}.jsonl", [row])
  return folder


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
  """Prepare it; return the data set's folder and the lines of output."""
  lines = []
  output = tmp_path_factory.mktemp("tfds") / "maths"
  prepare("math", source, output, say=lines.append)
  return output, lines


@pytest.mark.filterwarnings("ignore:.*are in.*too")  # most ask "p"
def test_every_layout_is_read_as_from_its_file(source, prepared):
  direct, stored = (make_task("math", f).load for f in (source, prepared[0]))
  for path in source.iterdir():
    if path.stem != "train":
      assert list(stored(path.stem)) == list(direct(path.stem)), path
  assert len(list(source.iterdir())) == 2 + len(LAYOUTS)


def test_order_is_the_files_and_the_test_set_is_not_trained_on(prepared):
  train = make_task("math", prepared[0]).load("train")
  expected = [r["problem"] for i, r in enumerate(ROWS) if i not in (5, 30)]
  assert [p.prompt for p in train] == expected


def test_what_is_left_out_is_counted(source, prepared):
  lines = prepared[1]
  assert (
    f"{source / 'train.parquet'}: 45 rows, left out 2 with the question of an "
    "earlier one (1 of them with another answer), 3 without an answer"
  ) in lines
  assert "train: left out 2 problems of aime-2024" in lines
  assert "train: 38 problems" in lines


def test_parts_are_read_at_random_and_shards_are_disjoint(prepared):
  load = make_task("math/gsm8k", prepared[0]).load
  train = load("train")
  assert load("train[:10]")[3] == train[3] == load("train[3:]")[0]
  assert (train[-1], train[2:4]) == (train[37], [train[2], train[3]])
  with pytest.raises(IndexError):
    train[38]
  builder = tfds.builder_from_directory(prepared[0] / "1.0.0")
  shards = [
    [row["prompt"] for row in builder.as_data_source(split=shard)]
    for shard in tfds.even_splits("train", 3)
  ]
  assert [len(shard) for shard in shards] == [13, 13, 12]
  assert [q for shard in shards for q in shard] == [
    p.prompt.encode() for p in train
  ]
  named = tfds.data_source(
    "maths", data_dir=prepared[0].parent, split="aime-2024"
  )
  assert len(named) == 2
  assert "tensorflow" not in sys.modules


def test_its_batches_are_those_of_the_same_problems_in_memory(prepared):
  characters = sorted({c for row in ROWS for c in row["problem"]})
  words = tokenizer.Tokenizer(
    tokenizer.character_tokenizer(characters), eos_ids=[2], pad_id=0
  )
  stored = make_task("math", prepared[0]).load("train")
  streams = [
    prompt_stream.PromptStream(
      problems, tokenizer=words, num_prompts=16, prompt_length=16, seed=3
    )
    for problems in (stored, list(stored))
  ]
  for _ in range(4):  # the third batch spans two epochs
    (_, problems), (_, expected) = map(next, streams)
    assert problems == expected
  streams[1].restore(streams[0].state())
  assert next(streams[0])[1] == next(streams[1])[1]


def test_a_single_file_is_cut_by_the_hash_of_the_question(tmp_path):
  path = write(tmp_path / "set.jsonl", ROWS)
  prepare("math", path, tmp_path / "one_file", say=QUIET)
  direct, stored = (
    make_task("math", f).load for f in (path, tmp_path / "one_file")
  )
  for split in ("train", "validation", "test"):
    assert list(stored(split)) == list(direct(split))


def test_synlogic_is_prepared_too(tmp_path):
  source, lines = tmp_path / "source", []
  source.mkdir()
  sources = ["sudoku", "numbrix", "linguini", "futoshiki"]
  write(source / "train.parquet", [synlogic_row(name) for name in sources])
  write(source / "val.jsonl", [synlogic_row("numbrix")])
  prepare("synlogic", source, tmp_path / "tfds" / "logic", say=lines.append)
  stored = make_task("synlogic", tmp_path / "tfds" / "logic").load("train")
  with pytest.warns(UserWarning, match="1 linguini"):
    direct = make_task("synlogic", source).load("train")
  assert list(stored) == [direct[0], direct[2]]
  assert any("no verifier here: 1 linguini" in line for line in lines)
  assert "train: left out 1 problems of validation" in lines


def run(capsys, *arguments):
  """Run the command, which fails; return its exit status and stderr."""
  with pytest.raises(SystemExit) as ended:
    main(list(map(str, arguments)))
  return ended.value.code, capsys.readouterr().err


def test_the_command_says_what_the_run_needs(tmp_path, capsys):
  output = tmp_path / "one_set"
  path = write(tmp_path / "set.jsonl", ROWS)
  main(["math", str(path), f"--output={output}"])
  assert f"done: --config.task.data_dir={output}\n" in capsys.readouterr().out
  status, message = run(capsys, "math", path, f"--output={output}")
  assert status == 2 and f"{output} exists already" in message


def test_what_cannot_be_prepared_is_named(tmp_path, capsys):
  bad = write(tmp_path / "bad.jsonl", [*ROWS[:2], {"problem": 7}])
  twice = tmp_path / "twice"
  twice.mkdir()
  write(twice / "train.jsonl", ROWS), write(twice / "train.json", ROWS)
  empty = tmp_path / "empty"
  empty.mkdir()
  for source, name, message in [
    (tmp_path / "none", "a", "none does not exist"),
    (bad, "a", f"{bad}: row 2: column problem is 7, not a text"),
    (write(tmp_path / "few.jsonl", ROWS[:3]), "a", "split 'test' of"),
    (twice, "a", "are one split"),
    (empty, "a", "holds no file of parquet, jsonl, json"),
    (twice / "train.json", "GSM8K-v2", "'GSM8K-v2' is no name of a data set"),
  ]:
    output = f"--output={tmp_path / 'out' / name}"
    assert run(capsys, "math", source, output)[0] == 2
    assert message in run(capsys, "math", source, output)[1]
  assert not (tmp_path / "out").exists()


def test_another_tasks_set_or_a_broken_one_is_refused(prepared, tmp_path):
  with pytest.raises(ValueError, match="set of 'math', the task is 'synlogic'"):
    make_task("synlogic", prepared[0]).load("train")
  with pytest.raises(ValueError, match=r"'dev' is not a split of .*maths"):
    make_task("math", prepared[0]).load("dev")
  with pytest.raises(ValueError, match=r"train\[:0\]' .* holds no problem"):
    make_task("math", prepared[0]).load("train[:0]")
  prepare("math", write(tmp_path / "a.jsonl", ROWS), tmp_path / "b", say=QUIET)
  load = make_task("math", tmp_path / "b").load
  for path in (tmp_path / "b" / "1.0.0").glob("*train.array_record*"):
    path.write_bytes(path.read_bytes()[:200])
  with pytest.raises(ValueError, match=r"b/1\.0\.0: ArrayRecord file"):
    load("train")[0]
  (tmp_path / "dataset_info.json").write_text("{")
  assert files.prepared_folder(tmp_path) is None
  (tmp_path / "features.json").write_text("{")
  with pytest.raises(ValueError, match=f"{tmp_path} is no complete data set"):
    make_task("math", tmp_path).load("train")
