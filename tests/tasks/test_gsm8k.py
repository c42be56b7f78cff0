"""Word problems in GSM8K's format: a sample, and training a real model on it.

    python -m experiments.convert_smollm2 --output=smollm2
    ENTROJAX_SMOLLM2=smollm2 python -m pytest tests/tasks/test_gsm8k.py

Without that folder only the sample is tested. With it, 3 rollout steps and an
evaluation take some 7 minutes on 2 cores.
"""

import json
import os
from pathlib import Path
import re
import subprocess
import sys

import numpy as np
import pytest

from configs import gsm8k
from entrojax.tasks import make_task
from tests.helpers.paths import GOLDENS, ROOT

SAMPLE = GOLDENS / "gsm8k_sample.jsonl"
MODEL = os.environ.get("ENTROJAX_SMOLLM2", "")


def test_the_sample_has_20_problems_and_its_sums_are_right():
  problems = make_task("math/gsm8k", SAMPLE).load("all")
  assert len(problems) == 20
  for line, problem in zip(SAMPLE.open(), problems, strict=True):
    answer = json.loads(line)["answer"]
    sums = re.findall(r"<<([\d+*/ -]+)=(\d+)>>(\d[\d,]*)", answer)
    assert sums, problem.prompt
    for left, right, result in sums:
      assert eval(left) == int(right) == int(result.replace(",", ""))
    assert problem.answer["gold"] == [sums[-1][1]]


def test_its_presets_name_what_a_run_needs():
  assert (ROOT / gsm8k.get_config("sample").task.data_dir) == SAMPLE
  assert gsm8k.get_config().task.data_dir is None
  with pytest.raises(
    ValueError, match="no preset or method 'tiny'; the presets are small, s"
  ):
    gsm8k.get_config("tiny")


def command(module, *arguments):
  """Run a command on the sample and return its output."""
  process = subprocess.run(
    [
      *(sys.executable, "-m", f"entrojax.{module}"),
      "--config=configs/gsm8k.py:sample",
      f"--config.model.path={Path(MODEL).absolute()}",
      *arguments,
    ],
    cwd=ROOT,
    env={k: v for k, v in os.environ.items() if k != "XLA_FLAGS"},
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert process.returncode == 0, process.stderr
  return process.stdout


@pytest.mark.skipif(
  not (MODEL and Path(MODEL).is_dir()),
  reason="ENTROJAX_SMOLLM2 names no folder made by experiments.convert_smollm2",
)
def test_three_steps_and_an_evaluation_within_ten_minutes_each(tmp_path):
  command("main", f"--workdir={tmp_path / 'run'}")
  lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  steps = [row for row in rows if "actor/loss" in row]
  assert [row["rollout_step"] for row in steps] == [1, 2, 3]
  for row in steps:
    assert np.isfinite(row["actor/grad_norm"])
    assert row["rollout/log_prob_diff_max"] < 1e-3
  printed = command("evaluate_model", f"--output={tmp_path / 'evaluation'}")
  assert re.search(r"^pass@4 +\d\.\d+±", printed, re.MULTILINE), printed
