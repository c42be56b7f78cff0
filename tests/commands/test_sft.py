"""Supervised training: files, folders, refusals."""

import json

import jax
import numpy as np
import pyarrow
from pyarrow import parquet
import pytest

from configs import sft as sft_config
from configs import warm_up_countdown, warm_up_logic, warm_up_reasoning
from entrojax import sft as sft_module
from entrojax.data import packing
from entrojax.evaluate_model import evaluate_model
from entrojax.models import hugging_face
from entrojax.reporting import writer
from entrojax.sft import TRAINING_FOLDER, sft
from entrojax.system.sharding import make_mesh
from entrojax.tasks.families import FAMILIES, countdown
from tests.helpers.commands import run_command
from tests.helpers.system import numbers, tiny_config

ROWS = [
  {"prompt": f"{a} {b}=", "response": f"{a}+{b}"}
  for a in range(3, 9)
  for b in range(1, 5)
]

pytestmark = [
  pytest.mark.usefixtures("one_device", "session_data"),
  pytest.mark.slow,
]


def write_lines(path, rows):
  path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
  return path


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
  """Write a file of 24 prompts and responses."""
  return write_lines(tmp_path_factory.mktemp("data") / "a.jsonl", ROWS)


def tiny(**overrides):
  """Return the settings of 3 steps of 2 rows; keys are 'section.leaf'."""
  config = sft_config.get_config()
  config.update(
    {
      "num_steps": 3,
      "mesh": (1, 1, 1),
      "sft": {"num_rows": 2, "row_length": 24},
      "optimizer": {"learning_rate": 1e-2},
      "training": {"num_microbatches": 2},
      "log": {"every": 1},
    }
  )
  config.update_from_flattened_dict(overrides)
  return config


def new_model(lines, **overrides):
  """Return the settings of a new model that learns a file."""
  return tiny(
    **{
      "new_model.characters": countdown.CHARACTERS,
      "new_model.hidden_size": 16,
      "new_model.intermediate_size": 32,
      "new_model.num_hidden_layers": 1,
      "new_model.head_dim": 4,
      "sft.files": (str(lines),),
      **overrides,
    }
  )


def weights(folder):
  return hugging_face.load(folder)[1]


# -- training -----------------------------------------------------------------


def test_a_new_model_learns_and_is_a_folder_that_can_be_judged(
  lines, tmp_path, capsys
):
  config = new_model(lines, num_steps=40)
  assert sft(config, tmp_path / "out") is None
  output = capsys.readouterr().out
  # 7 or 8 of 24 tokens: prompt "3 1=", response "3+1", EOS
  assert "24 examples; an epoch is 8 rows of 24 tokens, 100.0% filled" in output
  assert "step 40/40  cross-entropy" in output
  rows = numbers(tmp_path / "out" / TRAINING_FOLDER)
  assert [row["step"] for row in rows] == list(range(1, 41))
  assert rows[0]["actor/loss"] == pytest.approx(np.log(22), rel=0.05)
  assert rows[-1]["actor/loss"] < 1.0
  assert rows[0]["tokens"] == 2 * 24 and rows[0]["sft/padding"] == 0
  config = tiny_config(tmp_path / "out")
  ((_, metrics),) = evaluate_model(config, [], tmp_path / "evaluation")
  assert 0 < metrics["entropy"] < np.log(22)


def test_a_run_that_goes_on_is_one_that_was_not_interrupted(lines, tmp_path):
  whole, parts = tmp_path / "whole", tmp_path / "parts"
  sft(new_model(lines, num_steps=5), whole)
  sft(new_model(lines, num_steps=2), parts)
  sft(new_model(lines, num_steps=5), parts)
  jax.tree.map(np.testing.assert_array_equal, weights(whole), weights(parts))
  rows = [numbers(path / TRAINING_FOLDER) for path in (whole, parts)]
  assert rows[0] == rows[1]


def test_an_error_costs_no_step_before_it(lines, tmp_path, monkeypatch, capsys):
  whole, cut = tmp_path / "whole", tmp_path / "cut"
  sft(new_model(lines, num_steps=5), whole)
  inner, steps = packing.make_packed_batch, []

  def without_room(*arguments):
    steps.append(arguments)
    if len(steps) == 4:
      raise MemoryError("no room for a batch")
    return inner(*arguments)

  monkeypatch.setattr(packing, "make_packed_batch", without_room)
  with pytest.raises(MemoryError):
    sft(new_model(lines, num_steps=5), cut)
  assert "The run ends with an error. Saved" in capsys.readouterr().out
  sft(new_model(lines, num_steps=5), cut)
  assert len(steps) == 4 + 2  # the fourth is repeated
  jax.tree.map(np.testing.assert_array_equal, weights(whole), weights(cut))
  rows = [numbers(path / TRAINING_FOLDER) for path in (whole, cut)]
  assert rows[0] == rows[1]


def test_a_line_that_cannot_be_written_is_written_with_the_next_one(
  lines, tmp_path, monkeypatch, capsys
):
  inner, full = writer.append_text, []

  def append(path, text):
    if path.name == "metrics.jsonl" and not full:
      full.append(path)
      raise OSError(28, "No space left on device")
    inner(path, text)

  monkeypatch.setattr(writer, "append_text", append)
  assert sft(new_model(lines), tmp_path) is None
  assert full
  output = capsys.readouterr().out
  assert "the metrics of step 1 could not be written" in output
  rows = numbers(tmp_path / TRAINING_FOLDER)
  assert [row["step"] for row in rows] == [1, 2, 3]


def test_a_run_that_goes_on_holds_one_state_on_its_devices(
  lines, tmp_path, monkeypatch
):
  inner, are_deleted = sft_module._loop, []

  def loop(config, parts, position, *others):
    for state in (parts.state, position.state):
      are_deleted.append({x.is_deleted() for x in jax.tree.leaves(state)})
    return inner(config, parts, position, *others)

  sft(new_model(lines, num_steps=1), tmp_path)
  monkeypatch.setattr(sft_module, "_loop", loop)
  sft(new_model(lines, num_steps=2), tmp_path)
  assert are_deleted == [{True}, {False}]


def test_a_step_with_a_large_gradient_is_skipped_named_and_not_counted(
  lines, tmp_path, capsys
):
  config = new_model(
    lines,
    **{
      "num_steps": 2,
      "optimizer.warmup_steps": 4,
      "optimizer.skip_grad_norm": 1e-9,
    },
  )
  sft(config, tmp_path)
  # it stays at the first step of the warm-up to 1e-2
  rates = [row["actor/lr"] for row in numbers(tmp_path / TRAINING_FOLDER)]
  assert rates == pytest.approx([2.5e-3] * 2, rel=1e-6)  # float32
  output = capsys.readouterr().out
  assert "step 1 skipped: the gradient's norm is above optimizer.skip" in output
  assert "not finite" not in output


def test_a_mesh_changes_nothing_but_rounding(lines, tmp_path, monkeypatch):
  runs = []
  for mesh in ((1, 1, 1), (2, 2, 2)):
    devices = jax.devices()[: np.prod(mesh)]
    monkeypatch.setattr(
      sft_module, "make_mesh", lambda shape, d=devices: make_mesh(shape, d)
    )
    out = tmp_path / str(len(devices))
    sft(new_model(lines, **{"sft.num_rows": 8, "mesh": mesh}), out)
    runs.append(numbers(out / TRAINING_FOLDER))
  for one, other in zip(*runs, strict=True):
    for name in ("actor/loss", "actor/grad_norm"):
      # float32 sums in another order, after two steps of Adam
      assert one[name] == pytest.approx(other[name], rel=1e-4)


def test_another_setting_is_refused_when_a_run_goes_on(lines, tmp_path):
  sft(new_model(lines, num_steps=1), tmp_path)
  with pytest.raises(ValueError, match=r"sft\.num_rows was 2, is 4"):
    sft(new_model(lines, **{"sft.num_rows": 4}), tmp_path)


def test_a_task_and_a_table_are_learnt_together(base, tmp_path, capsys):
  path = tmp_path / "a.parquet"
  table = {
    "question": [row["prompt"] for row in ROWS],
    "solution": [row["response"] for row in ROWS],
  }
  parquet.write_table(pyarrow.table(table), path)
  config = tiny(
    **{
      "model.path": str(base),
      "sft.tasks": ("countdown:validation[:16]", "game_of_24#1:test[:4]"),
      "sft.files": (str(path),),
      "sft.prompt_column": "question",
      "sft.response_column": "solution",
      "num_steps": 1,
    }
  )
  assert sft(config, tmp_path / "out") is None
  # 24 + 16 + 4; one game of 24 is solved with fractions alone
  output = capsys.readouterr().out
  assert output.startswith("43 examples, left out 1 without a known response; ")


def test_an_adapter_is_merged_into_the_folder(base, lines, tmp_path):
  config = tiny(
    **{
      "model.path": str(base),
      "sft.files": (str(lines),),
      "lora.rank": 2,
      "lora.projections": ("q_proj",),
    }
  )
  sft(config, tmp_path / "out")
  before, after = weights(base), weights(tmp_path / "out")
  moved = jax.tree.map(lambda x, y: bool(np.any(x != y)), before, after)
  paths = jax.tree_util.tree_leaves_with_path(moved)
  assert [jax.tree_util.keystr(path) for path, m in paths if m] == [
    "['layers']['self_attn']['q_proj']['kernel']"
  ]


# -- refusals -----------------------------------------------------------------


def test_long_examples_are_left_out_and_counted(lines, tmp_path, capsys):
  long = {"prompt": "1" * 20, "response": "2" * 4}  # 25 tokens with the EOS
  path = write_lines(tmp_path / "b.jsonl", [long, *ROWS])
  sft(new_model(path, num_steps=1), tmp_path / "out")
  output = capsys.readouterr().out
  assert "24 examples, left out 1 longer than a row; " in output
  path = write_lines(tmp_path / "c.jsonl", [long])
  with pytest.raises(ValueError, match=r"no example .* 1 are longer"):
    sft(new_model(path), tmp_path / "out2")


@pytest.mark.parametrize(
  ("overrides", "message"),
  [
    ({"new_model.characters": None}, "model.path is not set, nor is new_model"),
    ({"model.path": "bases/countdown"}, "are both set"),
    ({"lora.rank": 2}, "lora.rank is set, and the model is a new one"),
    ({"new_model.characters": "aa"}, "not distinct"),
    ({"new_model.head_dim": 3}, "head_dim must be even"),
    ({"sft.files": ()}, "sft.tasks and sft.files are empty"),
    ({"sft.files": ("nowhere.jsonl",)}, "nowhere.jsonl is not a file"),
    ({"sft.tasks": ("countdwn",)}, "sft.tasks: .* did you mean 'countdown'"),
    ({"sft.tasks": ("countdown:x",)}, "split='x' is not a split"),
    ({"sft.tasks": ("word_sorting",)}, "word_sorting: row 0: .* no token for"),
    ({"sft.num_rows": 3}, "sft.num_rows = 3 do not divide over 2"),
    ({"sft.row_length": 1}, "sft.row_length must be at least 2"),
    ({"sft.dtype": "int8"}, "sft.dtype must be"),
    ({"sft.prompt_column": "q"}, "row 0 has no column 'q', only"),
    ({"optimizer.learning_rate": 0.0}, "optimizer.learning_rate must be above"),
  ],
)
def test_what_cannot_work_is_named(overrides, message, lines, tmp_path):
  with pytest.raises(ValueError, match=message):
    sft(new_model(lines, **overrides), tmp_path / "out")


@pytest.mark.parametrize(
  ("row", "message"),
  [
    ({"prompt": "1"}, "row 1 has no column 'response', only"),
    ({"prompt": 1, "response": "1"}, "row 1: column 'prompt' is 1, not a text"),
    ({"prompt": "1", "response": None}, "row 1: column 'response' is None"),
    ({"prompt": "", "response": "1"}, "row 1: the prompt is empty"),
    ({"prompt": "1", "response": "x"}, "row 1: the tokenizer has no token for"),
  ],
)
def test_a_malformed_row_is_named(row, message, tmp_path):
  path = write_lines(tmp_path / "b.jsonl", [ROWS[0], row])
  with pytest.raises(ValueError, match=message):
    sft(new_model(path), tmp_path / "out")


def test_a_task_without_right_responses_is_refused(lines, tmp_path):
  (tmp_path / "train.jsonl").write_text('{"problem": "1+1?", "answer": "2"}\n')
  config = new_model(lines, **{"sft.tasks": (f"math:train@{tmp_path}",)})
  with pytest.raises(ValueError, match="'math' knows no right responses"):
    sft(config, tmp_path / "out")


def test_a_folder_with_something_else_in_it_is_refused(lines, base, tmp_path):
  with pytest.raises(ValueError, match="holds something"):
    sft(new_model(lines), base)
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match="holds something"):
    sft(new_model(lines), tmp_path / "file")


def test_the_command_says_what_is_wrong_a_line_for_each(tmp_path):
  def run(*arguments):
    output = f"--output={tmp_path / 'out'}"
    return run_command(
      "entrojax.sft", "--config=configs/sft.py", output, *arguments
    )

  done = run("--config.rollout.group_size=4")
  assert done.returncode == 2 and "unknown setting" in done.stderr
  done = run()
  assert done.returncode == 2
  assert done.stderr.startswith("error: 2 settings are wrong:\n  1. model.path")
  assert "\n  2. sft.tasks and sft.files are empty" in done.stderr


# -- the warm-ups -------------------------------------------------------------


@pytest.mark.parametrize(
  "module", [warm_up_countdown, warm_up_logic, warm_up_reasoning]
)
def test_a_warm_up_says_how_it_is_run(module):
  name = module.__name__.removeprefix("configs.")
  assert f"--config=configs/{name}.py" in module.__doc__
  config = module.get_config()
  assert config.optimizer.decay_steps >= config.num_steps


def test_the_logic_vocabulary_covers_every_family():
  alphabet = set(warm_up_logic.CHARACTERS)
  for name, family in FAMILIES.items():
    unknown = "".join(sorted(set(family.characters) - alphabet))
    assert not unknown, (
      f"{name}: its CHARACTERS has {unknown!r}, which CHARACTERS in "
      "configs/warm_up_logic.py lacks: choose others, or train the base again"
    )
  used = set("".join(family.characters for family in FAMILIES.values()))
  assert used == alphabet, f"no family uses the characters {alphabet - used}"
  assert len(set(warm_up_logic.CHARACTERS)) == len(warm_up_logic.CHARACTERS)
