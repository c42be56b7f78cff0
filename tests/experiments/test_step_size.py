"""The table of predictions along an optimizer step."""

import json

import numpy as np
import pytest

from experiments import step_size
from experiments.ledger import FIRST_STEPS


@pytest.mark.parametrize(
  ("flags", "count"),
  [([], 10), (["--seeds=1"], 5), (["--seeds=0,1", "--entries=3"], 6)],
)
def test_the_table_has_the_entries_that_the_flags_ask_for(
  flags, count, tmp_path, capsys
):
  kept = tmp_path / "kept.jsonl"
  rng = np.random.default_rng(0)
  lines = [
    {
      "seed": seed,
      "rollout_step": FIRST_STEPS + number,
      "entropy": rng.normal(size=len(step_size.AT)).tolist(),
      "change": rng.normal(size=len(step_size.AT)).tolist(),
    }
    for seed in (0, 1)
    for number in range(1, 6)
  ]
  kept.write_text("".join(json.dumps(line) + "\n" for line in lines))
  # everything is measured already
  step_size.main([f"--kept={kept}", "--seeds=0,1", "--entries=5", *flags])
  first = capsys.readouterr().out.splitlines()[0]
  assert first == f"{count} entries; changes and errors in 1e-4 nats"
