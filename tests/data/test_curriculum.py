"""The curriculum: its order, its stages, and what restarts with a stage."""

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from entrojax import train as train_module
from entrojax.assembly.check_overrides import check_overrides
from entrojax.assembly.check_settings import check
from entrojax.assembly.run import build
from entrojax.data.curriculum import Stages, stage_rows
from entrojax.loop import files, rollout_step
from entrojax.loop.rollout_step import Position
from entrojax.train import train
from tests.helpers.system import (
  numbers,
  tiny_config,
  write_prompt_table,
)

pytestmark = [
  pytest.mark.usefixtures("one_device", "session_data"),
  pytest.mark.slow,
]

# of 20 prompts, with ties
ENTROPIES = np.random.default_rng(0).integers(0, 8, 20) / 4
UPDATES = 2  # per rollout step


def staged(base, table, **overrides):
  """Return the config of two stages of two rollout steps; write its table."""
  config = tiny_config(
    base,
    **{
      "num_rollout_steps": 4,
      "task.train_split": f"train[:{len(ENTROPIES)}]",
      "curriculum.table": str(table),
      "curriculum.steps_per_stage": 2,
      "checkpoint.every": 1,
      "checkpoint.keep": 9,
      "optimizer.warmup_steps": 3,
      "objective": ("ppo_clip", "reference_kl"),
      # the tiny base solves nothing, so its rewards differ only by length
      "advantage": ("overlong_penalty", "grpo"),
      "overlong_penalty.max_length": 12,
      "overlong_penalty.cache_length": 12,
      **overrides,
    },
  )
  if not table.exists():
    write_prompt_table(table, config, ENTROPIES.tolist())
  return config


def checkpoint(workdir, step):
  """Return the tree of arrays of a checkpoint, without the key."""
  manager = ocp.CheckpointManager(
    (workdir / "checkpoints").absolute(), item_names=("state", "host")
  )
  restored = manager.restore(
    step, args=ocp.args.Composite(state=ocp.args.StandardRestore())
  )["state"]
  del restored["key"]
  return restored


def test_stages_are_the_table_sorted_and_cut_evenly():
  entropies = np.array([0.5, 0.1, 0.5, 2.0, 0.0, 0.1, 0.3])
  by_hand = [[4, 1, 5], [6, 0], [2, 3]]
  assert [s.tolist() for s in stage_rows(entropies, 3)] == by_hand


def test_a_single_stage_has_every_prompt():
  assert sorted(stage_rows(ENTROPIES, 1)[0]) == list(range(20))


@pytest.mark.parametrize("num_stages", [0, 8])
def test_stages_without_a_prompt_are_refused(num_stages):
  with pytest.raises(ValueError, match=rf"\[1, 7 prompts\], got {num_stages}"):
    stage_rows(np.zeros(7), num_stages)


def test_stages_of_prompts_without_an_entropy_are_refused():
  entropies = np.array([0.5, np.nan, 0.1])
  with pytest.raises(ValueError, match=r"no entropy for 1 of the 3 training"):
    stage_rows(entropies, 2)
  assert [s.tolist() for s in stage_rows(entropies[[0, 2]], 2)] == [[1], [0]]


def test_a_stage_lasts_its_steps_and_the_last_one_until_the_end():
  stages = Stages(("low", "middle", "high"), length=2)
  steps = range(8)
  names = [stages.stream(step) for step in steps]
  assert names == ["low"] * 2 + ["middle"] * 2 + ["high"] * 4
  assert [step for step in steps if stages.restarts(step)] == [2, 4]
  assert [stages.first_step(step) for step in steps] == [0, 0, 2, 2, 4, 4, 4, 4]


def test_without_a_curriculum_nothing_restarts():
  stages = Stages(("all",), length=1)
  assert not any(stages.restarts(step) for step in range(9))


def test_each_stage_of_a_run_has_the_prompts_of_its_part(base, tmp_path):
  config = staged(base, tmp_path / "table")
  run = build(config)
  problems = run.data.task.load(config.task.train_split)
  rows = sorted(range(20), key=lambda row: ENTROPIES[row])
  for stream, expected in zip(
    run.data.stages.streams, (rows[:10], rows[10:]), strict=True
  ):
    batches = [next(stream)[1] for _ in range(5)]  # 40 prompts: four passes
    prompts = [problem.prompt for batch in batches for problem in batch]
    for i in range(0, 40, 10):
      assert sorted(prompts[i : i + 10]) == sorted(
        problems[row].prompt for row in expected
      )


def test_a_run_in_parts_is_the_run_in_one_and_stages_restart(
  base, tmp_path, monkeypatch
):
  table, runs = tmp_path / "table", []
  monkeypatch.setattr(
    train_module,
    "build_checked",
    lambda *args: runs.append(build(*args)) or runs[-1],
  )
  train(staged(base, table), tmp_path / "whole")
  assert runs[0].functions.update._cache_size() < 2  # compiled once
  for last in (2, 3, 4):  # stop at the border, within stage 2, at the end
    config = staged(base, table, num_rollout_steps=last)
    train(config, tmp_path / "parts")
  whole, parts = (
    [r for r in numbers(tmp_path / name) if "actor/loss" in r]
    for name in ("whole", "parts")
  )
  assert parts == whole
  saved = [checkpoint(tmp_path / "whole", step) for step in (1, 2, 3, 4)]
  jax.tree.map(
    np.testing.assert_array_equal, saved[3], checkpoint(tmp_path / "parts", 4)
  )

  assert [row["curriculum/stage"] for row in whole] == [1, 1, 2, 2]
  # the reference of stage 2 is the policy at the end of stage 1
  assert ["ref_params" in tree for tree in saved] == [False, False, True, True]
  for tree in saved[2:]:
    jax.tree.map(
      np.testing.assert_array_equal, tree["ref_params"], saved[1]["params"]
    )
  moved = jax.tree.map(
    lambda a, b: np.any(a != b), saved[1]["params"], saved[2]["params"]
  )
  assert any(jax.tree.leaves(moved))
  # optimizer and schedule restart, the count of steps continues
  counts = [
    {int(x) for x in jax.tree.leaves(tree["opt_state"]) if np.shape(x) == ()}
    for tree in saved
  ]
  assert counts == [{2}, {4}, {2}, {4}]
  assert [int(tree["step"]) for tree in saved] == [2, 4, 6, 8]
  # the second and the fourth update of a stage: warm-up and peak; one step
  # of a cosine over 2400 steps changes the rate by 4e-7 of it
  rates = [row["actor/lr"] for row in whole]
  expected = [1.6e-4 * 2 / 3, 1.6e-4] * 2
  assert rates == pytest.approx(expected, rel=1e-5)


def test_a_run_without_a_reference_gets_none_from_a_stage(base, tmp_path):
  config = staged(base, tmp_path / "table", objective=("ppo_clip",))
  run = build(config)
  start = Position(run.state, None, jax.random.key(0), 2, step=4, tokens=9)
  assert rollout_step._start_stage(run, start).ref_params is None
  assert not files.has_own_reference(run, 3)


@pytest.mark.parametrize(
  ("overrides", "message"),
  [
    (
      {"curriculum.num_stages": 21},
      r"num_stages must lie in \[1, 20 prompts\]",
    ),
    ({"curriculum.steps_per_stage": 0}, r"steps_per_stage must be at least 1"),
    ({"task.train_split": "train[:9]"}, r"train_split = 'train\[:20\]'.*:9"),
    ({"curriculum.table": "/no/table"}, "/no/table: there is no such table"),
  ],
)
def test_an_impossible_curriculum_is_named(overrides, message, base, tmp_path):
  staged(base, tmp_path / "table")
  config = staged(base, tmp_path / "table", **overrides)
  with pytest.raises(ValueError, match=message):
    build(config)


def test_a_table_of_another_length_is_named(base, tmp_path):
  config = staged(base, tmp_path / "other")
  write_prompt_table(tmp_path / "table", config, [0.0] * 7)
  config.curriculum.table = str(tmp_path / "table")
  with pytest.raises(ValueError, match=r"has 7 prompts.*split has 20"):
    build(config)


def test_a_table_of_another_difficulty_is_named(base, tmp_path):
  table = tmp_path / "table"
  harder = staged(base, tmp_path / "other", **{"task.difficulty": 2})
  write_prompt_table(table, harder, ENTROPIES.tolist())
  with pytest.raises(ValueError, match=r"difficulty = 2, the run has 1"):
    build(staged(base, table))


def test_a_stage_that_the_run_never_reaches_is_warned_of(base, tmp_path):
  config = staged(base, tmp_path / "table", num_rollout_steps=2)
  with pytest.warns(UserWarning, match=r"stage 2 of curriculum begins after 2"):
    check(config)


def test_settings_of_a_curriculum_that_is_off_are_refused(base):
  config = tiny_config(base, **{"curriculum.num_stages": 3})
  with pytest.raises(
    ValueError, match=r"num_stages is set and would do nothing"
  ):
    check_overrides(config, ["curriculum.num_stages"])
  config.curriculum.table = "table.jsonl"
  check_overrides(config, ["curriculum.num_stages", "curriculum.table"])
