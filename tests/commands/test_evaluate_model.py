"""The evaluation of a model folder: metrics, samples, table, refusals."""

import itertools
import json
from pathlib import Path
import shutil

import numpy as np
import pytest

from entrojax.assembly import evaluation_sets, samplers
from entrojax.assembly.data import open_task
from entrojax.assembly.evaluation_files import (
  EVALUATION_FILE,
  check_evaluation_overrides,
  evaluation_settings,
  read_results,
)
from entrojax.evaluate_model import evaluate_model, format_metrics
from entrojax.system.workdir import SAMPLES_FILE
from entrojax.tasks import make_task
from entrojax.tasks.families import countdown
from entrojax.train import train
from tests.helpers.commands import run_command
from tests.helpers.system import numbers, tiny_config

pytestmark = pytest.mark.slow

TWO = ("countdown:test[:11]", "countdown:validation[:3]")
SAMPLES = 4  # of the test preset


@pytest.fixture(autouse=True)
def _small_world(one_device, session_data):
  """Give every test one device and the session's data sets."""


def read(folder):
  """Return evaluation.json and the lines of samples.jsonl."""
  lines = (folder / "samples.jsonl").read_text().splitlines()
  return json.loads((folder / EVALUATION_FILE).read_text()), [
    json.loads(line) for line in lines
  ]


def test_the_numbers_are_those_of_a_run_that_begins_with_the_model(
  base, tmp_path
):
  config = tiny_config(base, num_rollout_steps=1)
  train(config, tmp_path / "run")
  ((label, metrics),) = evaluate_model(config, [], tmp_path / "out")
  assert label == "countdown:validation[:8]"
  logged = {
    key.removeprefix("val/countdown/"): value
    for key, value in numbers(tmp_path / "run")[0].items()
    if key.startswith("val/")
  }
  assert metrics == logged
  assert metrics["truncated"] > 0
  content, samples = read(tmp_path / "out")
  assert content["tasks"][label]["metrics"] == logged
  kept = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
  for row, line in enumerate(map(json.loads, kept[:8])):
    assert line.pop("rollout_step") == 0
    assert line.items() <= samples[row * SAMPLES].items()


def test_every_sample_is_kept_and_gives_the_metrics(
  base, tmp_path, monkeypatch
):
  # a response is right if it begins with a digit
  verify = lambda problem, text: countdown.FAMILY.verify(
    problem, text
  )._replace(reward=float(text[:1].isdigit()), answer=text[:1] or None)
  monkeypatch.setattr(
    evaluation_sets,
    "open_task",
    lambda *a: open_task(*a)._replace(verify=verify),
  )
  results = dict(evaluate_model(tiny_config(base), TWO, tmp_path / "out"))
  _, samples = read(tmp_path / "out")
  places = [(s["task"], s["row"], s["sample"]) for s in samples]
  assert places == [
    (label, row, sample)
    for label, size in zip(TWO, (11, 3), strict=True)
    for row in range(size)
    for sample in range(SAMPLES)
  ]
  for label in TWO:
    problems = make_task("countdown").load(label.partition(":")[2])
    mine = [s for s in samples if s["task"] == label]
    for s in mine:
      assert s["prompt"] == problems[s["row"]].prompt
      assert s["reward"] == float(s["response"][:1].isdigit())
      assert set(s) >= {"reason", "answer"}
    right = np.array([s["reward"] for s in mine]).reshape(-1, SAMPLES)
    assert 0 < right.mean() < 1
    assert results[label]["avg@4"] == pytest.approx(right.mean(), abs=1e-12)
    pairs = [
      [any(pair) for pair in itertools.combinations(row, 2)] for row in right
    ]
    assert results[label]["pass@2"] == pytest.approx(np.mean(pairs), abs=1e-12)


def test_a_task_does_not_notice_the_others_and_one_graph_serves_all(
  base, tmp_path, monkeypatch
):
  graphs = []
  inner = samplers.make_generate

  def make(*args):
    graphs.append(inner(*args))
    return graphs[-1]

  monkeypatch.setattr(samplers, "make_generate", make)
  # no other run of this process shares this sampler
  config = tiny_config(base, **{"evaluation.temperature": 0.875})
  both = evaluate_model(config, TWO, tmp_path / "both")
  together = dict([next(both)])
  both.close()  # killed amid the second task
  with (tmp_path / "both" / "samples.jsonl").open("a") as file:
    file.write(json.dumps({"task": TWO[1], "row": 0}) + '\n{"task": "cut')
  together = dict(evaluate_model(config, TWO, tmp_path / "both"))
  alone = dict(evaluate_model(config, TWO[1:], tmp_path / "alone"))
  assert alone[TWO[1]] == together[TWO[1]]
  _, both = read(tmp_path / "both")
  assert read(tmp_path / "alone")[1] == both[-3 * SAMPLES :]
  assert graphs[0] is graphs[1]  # equal settings share one sampler
  # JAX forgets graphs when a process has compiled thousands
  assert graphs[0]._cache_size() < 2
  list(evaluate_model(config, TWO, tmp_path / "again"))
  for name in (EVALUATION_FILE, "samples.jsonl"):
    first = (tmp_path / "both" / name).read_bytes()
    assert (tmp_path / "again" / name).read_bytes() == first


def test_the_sets_of_a_run_are_evaluated_with_their_own_numbers_of_samples(
  base, tmp_path
):
  own = {"evaluation.tasks": (TWO[0], (TWO[1], 2))}
  train(tiny_config(base, num_rollout_steps=1, **own), tmp_path / "run")
  config = tiny_config(base, **own)
  results = dict(evaluate_model(config, [], tmp_path / "out"))
  first = numbers(tmp_path / "run")[0]
  logged = {
    label: {
      key.removeprefix(f"val/{label}/"): value
      for key, value in first.items()
      if key.startswith(f"val/{label}/")
    }
    for label in TWO
  }
  assert results == logged
  assert set(results[TWO[0]]) > {"avg@4", "pass@4", "maj@4"}
  assert set(results[TWO[1]]) > {"avg@2", "pass@2", "maj@2"}
  assert not any(key.startswith("val/countdown/") for key in first)
  kept = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
  tasks = [json.loads(line)["task"] for line in kept]
  assert tasks == 2 * (8 * [TWO[0]] + 3 * [TWO[1]])
  table = [line.split() for line in format_metrics(results).splitlines()]
  (avg,) = [row for row in table if row[0] == "avg@2"]
  assert avg[1] == "-" != avg[2]


def test_stopped_after_a_task_that_task_is_kept(base, tmp_path):
  reports = []
  steps = evaluate_model(
    tiny_config(base),
    TWO,
    tmp_path / "out",
    report_progress=lambda *progress: reports.append(progress),
  )
  next(steps)
  assert reports == [(TWO[0], 0, 11), (TWO[0], 8, 11)]  # batches of eight
  steps.close()
  content, samples = read(tmp_path / "out")
  assert list(content["tasks"]) == [TWO[0]]
  assert len(samples) == 11 * SAMPLES


def test_results_of_other_weights_in_the_same_folder_are_not_returned(
  base, tmp_path
):
  model = tmp_path / "model"
  shutil.copytree(base, model)
  config, output = tiny_config(model), tmp_path / "out"
  labels = ["countdown:validation[:1]"]
  expected = list(evaluate_model(config, labels, output))
  assert list(evaluate_model(config, labels, output)) == expected
  weights = model / "model.safetensors"
  data = bytearray(weights.read_bytes())
  data[-1] ^= 1
  weights.write_bytes(data)
  with pytest.raises(ValueError, match="holds results of other weights than"):
    next(evaluate_model(config, labels, output))


def test_the_file_says_what_the_numbers_depend_on(base):
  config = tiny_config(base, **{"prompt.template": "r1", "seed": 5})
  settings = evaluation_settings(config)
  assert settings["seed"] == 5
  assert settings["template"] == "r1"
  assert settings["model"]["path"] == str(base)
  assert settings["model"]["product_dtype"] == "float32"
  assert settings["evaluation"]["temperature"] == 1.0
  config.prompt.chat = True
  assert evaluation_settings(config)["template"] == "chat(r1)"


@pytest.mark.parametrize(
  ("label", "expected"),
  [
    ("dyck", ("dyck", 2, "validation[:8]", "data")),
    ("dyck#3", ("dyck", 3, "validation[:8]", "data")),
    ("dyck:test[:9]", ("dyck", 2, "test[:9]", "data")),
    ("math/gsm8k:test@a/b:c@d", ("math/gsm8k", 2, "test", "a/b:c@d")),
    ("dyck#1@x", ("dyck", 1, "validation[:8]", "x")),
  ],
)
def test_what_a_task_leaves_out_is_the_config_s(label, expected, base):
  config = tiny_config(base, **{"task.difficulty": 2, "task.data_dir": "data"})
  (request,) = evaluation_sets.requested_by_labels(config, [label])
  assert request.spec == expected


@pytest.mark.parametrize(
  "label", ["", ":test", "dyck#", "dyck#x:test", "dyck@"]
)
def test_a_task_of_another_form_is_named(label, base):
  with pytest.raises(ValueError, match=r"--task: .* is not of the form NAME"):
    next(evaluate_model(tiny_config(base), [label], Path("absent")))


@pytest.mark.parametrize(
  ("labels", "overrides", "message"),
  [
    (["countdwn:test"], {}, "countdwn:test: unknown task.*'countdown'"),
    (["countdown:tset"], {}, "split='tset' is not a split of countdown"),
    (["countdown:test[:0]"], {}, r"split='test\[:0\]' of countdown holds no"),
    (["countdown#9:test"], {}, "task.difficulty must lie in 1..2"),
    (["math:test@absent"], {}, "task.data_dir='absent' does not exist"),
    ([TWO[0], TWO[0]], {}, r"countdown:test\[:11\]' is given twice"),
    ([], {"task.name": ""}, "task.name is not set, and there is no --task"),
    (
      [TWO[0]],
      {"rollout.prompt_length": 5},
      r"countdown:test\[:11\]: 11 of 11 prompts have more than",
    ),
    (
      [TWO[0]],
      {"evaluation.num_samples": 0},
      "evaluation.num_samples must be at least 1, got 0",
    ),
    ([], {"evaluation.temperature": -1.0}, "evaluation.temperature must not"),
    ([], {"evaluation.top_p": 0.0}, "top_p must lie in"),
    ([], {"model.path": "absent"}, "model.path: absent is not a folder"),
    ([], {"prompt.template": "r2"}, "prompt.template: there is no 'r2'"),
  ],
)
def test_what_cannot_work_is_named_and_nothing_is_written(
  labels, overrides, message, base, tmp_path
):
  config, out = tiny_config(base, **overrides), tmp_path / "out"
  with pytest.raises(ValueError, match=message):
    next(evaluate_model(config, labels, out))
  assert not out.exists()


def test_a_folder_that_holds_something_is_left_alone(base, tmp_path):
  (tmp_path / EVALUATION_FILE).write_text("mine")
  for output, message in (
    (tmp_path, "no result of this command"),
    (tmp_path / EVALUATION_FILE, "holds something"),
  ):
    with pytest.raises(ValueError, match=f"{message}.*choose another"):
      next(evaluate_model(tiny_config(base), [], output))
  assert (tmp_path / EVALUATION_FILE).read_text() == "mine"
  assert [path.name for path in tmp_path.iterdir()] == [EVALUATION_FILE]


def test_the_drafts_of_a_killed_command_do_not_spoil_the_folder(base, tmp_path):
  for name in (EVALUATION_FILE, SAMPLES_FILE):
    (tmp_path / f"{name}.tmp").write_text("half of it")
  settings = evaluation_settings(tiny_config(base))
  assert read_results(tmp_path, settings) == {}
  (tmp_path / "model.tmp").write_text("mine")
  with pytest.raises(ValueError, match="holds something"):
    read_results(tmp_path, settings)


def test_a_batch_that_does_not_divide_over_the_devices_is_named(
  base, tmp_path, monkeypatch
):
  monkeypatch.setattr(samplers, "num_row_shards", lambda mesh: 3)
  with pytest.raises(
    ValueError, match=r"prompts_per_batch = 8 does not divide"
  ):
    next(evaluate_model(tiny_config(base), [], tmp_path / "out"))


def test_a_run_directory_is_sent_to_the_export(base, tmp_path):
  (tmp_path / "run" / "checkpoints").mkdir(parents=True)
  config = tiny_config(base, **{"model.path": str(tmp_path / "run")})
  with pytest.raises(ValueError, match=r"run directory: entrojax\.export"):
    next(evaluate_model(config, [], tmp_path / "out"))


@pytest.mark.parametrize(
  ("key", "message"),
  [
    ("rollout.top_k", "did you mean evaluation.top_k?"),
    ("optimizer.learning_rate", "optimizer.learning_rate is set and would do"),
    ("lora.rank", "entrojax.export merges an adapter"),
  ],
)
def test_a_setting_that_would_do_nothing_is_refused(key, message):
  with pytest.raises(ValueError, match=message):
    check_evaluation_overrides(["seed", "evaluation.top_k", key])


@pytest.mark.parametrize(
  "key",
  [
    "model.product_dtype",
    "model.fused_attention",
    "model.query_chunk",
    "model.rematerialise",
    "rollout.num_slots",
    "rollout.refill_every",
  ],
)
def test_a_setting_of_the_model_or_the_sampler_may_be_overridden(key):
  check_evaluation_overrides([key])


def test_the_table_has_a_line_a_metric_and_a_column_a_task():
  metrics = {
    "pass@1": 0.25,
    "pass@1_stderr": 0.125,
    "avg@1": 0.25,
    "entropy": 1.5,
    "truncated": 0.0,
  }
  table = format_metrics({"a:test": metrics, "b:test": metrics})
  assert [line.split() for line in table.splitlines()] == [
    ["a:test", "b:test"],
    ["pass@1", "0.250±0.125", "0.250±0.125"],
    ["avg@1", "0.250", "0.250"],
    ["entropy", "(nats)", "1.5", "1.5"],
    ["truncated", "0", "0"],
  ]


def command(base, output, *extra):
  return run_command(
    "entrojax.evaluate_model",
    "--config=configs/grpo.py:test",
    f"--config.model.path={base}",
    "--config.mesh=(1, 1, 1)",
    f"--output={output}",
    *extra,
  )


def test_the_command_prints_its_table(base, tmp_path):
  done = command(base, tmp_path / "out", *(f"--task={label}" for label in TWO))
  assert done.returncode == 0, done.stderr
  assert f"model {base}, template none" in done.stdout
  content, _ = read(tmp_path / "out")
  rows = [line.split() for line in done.stdout.splitlines()]
  assert list(TWO) in rows
  (cells,) = [row[1:] for row in rows if row[:1] == ["pass@4"]]
  for label, cell in zip(TWO, cells, strict=True):
    value = content["tasks"][label]["metrics"]["pass@4"]
    assert float(cell.partition("±")[0]) == pytest.approx(value, abs=5e-4)
  warmer = "--config.evaluation.temperature=0.5"
  again = command(base, tmp_path / "out", warmer)
  assert again.returncode == 2
  assert "results of other settings: evaluation.temperature" in again.stderr
