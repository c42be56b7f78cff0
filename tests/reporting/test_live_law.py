"""The law that a run logs: fitted to its steps so far, also when resumed."""

import json
import math

import numpy as np

from entrojax.reporting.live_law import LiveLaw


def step(entropy, a=0.15, b=0.6):
  """Return the metrics of a rollout step that lies on the law."""
  reward = b - a * math.exp(entropy)
  return {"actor/entropy": entropy, "critic/rewards/mean": reward}


def test_three_steps_on_a_law_give_it_back(tmp_path):
  law = LiveLaw(tmp_path)
  for entropy in (0.8, 0.5):
    assert all(math.isnan(x) for x in law.metrics(step(entropy)).values())
  fitted = law.metrics(step(0.3))
  # reward 0.45 at H = 0, of which 0.15 (exp(0.3) - 1) is left to gain
  expected = {
    "law/a": 0.15,
    "law/b": 0.6,
    "law/ceiling": 0.45,
    "law/reward_left": 0.15 * (math.exp(0.3) - 1),
  }
  assert fitted.keys() == expected.keys()
  np.testing.assert_allclose(
    [fitted[name] for name in expected], list(expected.values()), rtol=1e-9
  )


def test_a_resumed_run_keeps_the_points_it_has_logged(tmp_path):
  whole = LiveLaw(tmp_path)
  steps = [step(h, a=0.1 + h / 9) for h in (0.8, 0.5, 0.3, 0.2)]
  expected = [whole.metrics(numbers) for numbers in steps][-1]
  lines = [
    *({"step": i, **numbers} for i, numbers in enumerate(steps[:3])),
    {"step": 3, "val/countdown/pass@1": 0.5},  # an evaluation: no point
    {"step": 3, "actor/entropy": None, "critic/rewards/mean": 0.5},
  ]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (tmp_path / "metrics.jsonl").write_text(text)
  assert LiveLaw(tmp_path).metrics(steps[3]) == expected


def test_a_step_without_an_entropy_is_no_point(tmp_path):
  law = LiveLaw(tmp_path)
  for entropy in (0.8, 0.5, 0.3):
    before = law.metrics(step(entropy))
  after = law.metrics({"actor/entropy": math.nan, "critic/rewards/mean": 0.1})
  assert after["law/a"] == before["law/a"]
  assert math.isnan(after["law/reward_left"])
