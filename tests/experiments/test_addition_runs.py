"""Runs on sums are kept if they are finished, once, and drawn from the file."""

import json

import pytest

from experiments import addition_runs

NUM_STEPS = 9


def write_run(folder, *, pass_at_1=0.5, num_steps=NUM_STEPS, seed=0):
  """Write a run whose entropy falls by 0.1 per step, from 1."""
  folder.mkdir(parents=True)
  config = {"seed": seed, "num_rollout_steps": NUM_STEPS}
  (folder / "config.json").write_text(json.dumps(config))
  rows = [{"step": 0, "rollout_step": 0, **scores(0.25)}]
  for step in range(1, num_steps + 1):
    values = {"rollout/entropy": 1 - 0.1 * (step - 1)}
    values["response_length/clip_ratio"] = 0.125 * (step > 3)
    rows.append({"step": step, "rollout_step": step, "other": 1.0, **values})
  rows.append({"step": num_steps, "rollout_step": num_steps})
  rows[-1] |= scores(pass_at_1)
  samples = [
    {"rollout_step": n, "prompt": "1+1=", "response": str(n), "reward": 0.0}
    for n in (0, num_steps)
  ]
  for name, lines in (("metrics", rows), ("samples", samples)):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / f"{name}.jsonl").write_text(text)


def scores(value):
  """Return the metrics of an evaluation."""
  names = [f"val/math/pass@{k}" for k in addition_runs.KS]
  return {
    **dict.fromkeys(names, value),
    **dict.fromkeys((f"{name}_stderr" for name in names), 0.01),
  }


@pytest.fixture
def show(tmp_path, capsys):
  """Return show(), which runs the command and returns what it prints."""

  def show(*arguments):
    files = [f"--{name}={tmp_path / name}" for name in ("kept", "picture")]
    addition_runs.main([*files, *arguments])
    return capsys.readouterr().out

  return show


def test_finished_runs_are_kept_and_shown_without_their_folders(show, tmp_path):
  runs = tmp_path / "runs"
  write_run(runs / "grpo,seed=0")
  write_run(runs / "entropic,seed=1,target=0.6", seed=1, pass_at_1=0.375)
  name = "projection,name=math_number,seed=1,projection.target=0.7"
  write_run(runs / name, seed=1)
  write_run(runs / "grpo,seed=2", num_steps=4, seed=2)
  (runs / "grpo,seed=3").mkdir()
  (runs / "grpo,seed=3" / "config.json").write_text("{}")  # it compiles
  printed = show(f"--runs={runs}")
  assert "grpo,seed=3: not finished" in printed
  assert "grpo,seed=2: not finished" in printed
  table = printed.splitlines()[-4:]
  assert table[1].startswith("entropic, target 0.6, seed 1 ")
  assert table[2].startswith("grpo, seed 0 ")
  assert table[3].startswith("projection, target 0.7, bare, seed 1 ")
  # 1, 0.9 and 0.8 first; 0.4, 0.3 and 0.2 last
  assert "0.900 -> 0.300  0.000 -> 0.125" in table[2]
  assert table[2].count("0.250 -> 0.500 ± 0.010") == len(addition_runs.KS)
  assert show().splitlines() == table
  assert "pass@16, held out" in (tmp_path / "picture").read_text()


def test_a_run_is_kept_once_with_what_it_wrote_last(show, tmp_path):
  for number, value in enumerate((0.5, 0.625)):
    runs = tmp_path / f"runs{number}"
    write_run(runs / "grpo,seed=0", pass_at_1=value)
    show(f"--runs={runs}")
  (line,) = map(json.loads, (tmp_path / "kept").read_text().splitlines())
  assert [row["response"] for row in line["samples"]] == [str(NUM_STEPS)]
  assert line["rows"][-1]["val/math/pass@1"] == 0.625
  assert not any("other" in row for row in line["rows"])
