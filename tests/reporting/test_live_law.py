"""The law that a run logs: fitted to its points so far, also when resumed."""

import json
import math

import numpy as np

from entrojax.entropy.law import fit_entropy_law
from entrojax.reporting import live_law
from entrojax.reporting.fit_points import law_points
from entrojax.reporting.live_law import LiveLaw
from entrojax.reporting.run_logs import RunLog

UNUSABLE = fit_entropy_law(np.zeros(0), np.zeros(0))

# eight blocks of ten steps
ENTROPIES = np.repeat(np.linspace(0.8, 0.45, 8), 10)
GRPO = {"objective": ["ppo_clip"], "ppo_clip": {"clip_low": 1, "clip_high": 1}}


def step(entropy, a=0.15, b=0.6):
  """Return the metrics of a rollout step that lies on the law."""
  reward = b - a * math.exp(entropy)
  return {"actor/entropy": entropy, "critic/rewards/mean": reward}


def evaluation(entropy, a=0.15, b=0.6):
  """Return the metrics of an evaluation that lies on the law."""
  rate = b - a * math.exp(entropy)
  return {"val/sums/entropy": entropy, "val/sums/pass@1": rate}


def test_eight_blocks_of_steps_on_a_law_give_it_back(tmp_path):
  law = LiveLaw(tmp_path, GRPO)
  for i, entropy in enumerate(ENTROPIES[:-1]):
    fitted = law.metrics(step(entropy))
    assert fitted.pop("law/points") == (i + 1) // 10
    assert all(math.isnan(x) for x in fitted.values())
    assert not law.notes()
  fitted = law.metrics(step(ENTROPIES[-1]))
  # the reward is 0.45 at H = 0; 0.15 (exp(0.45) - 1) of it is left to gain
  expected = {
    "law/a": 0.15,
    "law/b": 0.6,
    "law/ceiling": 0.45,
    "law/reward_left": 0.15 * (math.exp(0.45) - 1),
  }
  assert fitted.pop("law/points") == 8
  errors = {f"{name}_stderr" for name in expected}
  assert fitted.keys() == expected.keys() | errors
  np.testing.assert_allclose(
    [fitted[name] for name in expected], list(expected.values()), rtol=1e-9
  )
  assert all(0 <= fitted[name] < 1e-9 for name in errors)
  (note,) = law.notes()
  assert "0.450 [0.450, 0.450]" in note
  assert not law.notes()


def test_the_points_are_those_of_a_report_at_every_step(tmp_path, monkeypatch):
  """A report reads all lines; the law of a run reads each line once."""
  law, rng, rows, fits = (
    LiveLaw(tmp_path, GRPO),
    np.random.default_rng(0),
    [],
    [],
  )
  monkeypatch.setattr(
    live_law, "fit_entropy_law", lambda *pair: fits.append(pair) or UNUSABLE
  )
  for number in range(700):
    row = step(rng.uniform(0.3, 0.8)) if number % 9 else {"actor/entropy": 0.5}
    law.metrics(row)
    rows.append(row)
    if number % 80 == 0:
      rows.append(evaluation(rng.uniform(0.3, 0.8)))
      law.add(rows[-1])
    if number % 30 == 0:
      expected = law_points(
        RunLog("", tmp_path, rows[: -(number % 80 == 0) or None], GRPO)
      )
      np.testing.assert_array_equal(fits[-1], expected[:2])


def test_what_is_left_has_the_error_of_its_difference(tmp_path):
  law = LiveLaw(tmp_path, GRPO)
  for i, entropy in enumerate(ENTROPIES):
    fitted = law.metrics(step(entropy, b=0.6 + 0.01 * (i % 7)))
  # the ceiling and the reward now share b, so that only a matters
  assert 0 < fitted["law/reward_left_stderr"] < fitted["law/ceiling_stderr"]
  np.testing.assert_allclose(
    fitted["law/reward_left_stderr"],
    (math.exp(0.45) - 1) * fitted["law/a_stderr"],
  )


def test_an_entropy_that_is_held_gives_no_law(tmp_path):
  law = LiveLaw(tmp_path, GRPO)
  for i in range(120):
    fitted = law.metrics(step(0.5 + 0.02 * math.sin(i)))
  assert fitted["law/points"] == 12
  assert math.isnan(fitted["law/a"])
  assert not law.notes()


def test_eight_evaluations_take_the_place_of_blocks(tmp_path):
  law = LiveLaw(tmp_path, GRPO)
  for entropy in ENTROPIES:
    law.add(step(entropy))
  for entropy in ENTROPIES[::10]:
    before = law.metrics({})
    assert abs(before["law/a"] - 0.15) < 1e-9
    law.add(evaluation(entropy, a=0.1))
  after = law.metrics({})
  np.testing.assert_allclose([after["law/a"], after["law/b"]], [0.1, 0.6])


def test_a_resumed_run_keeps_the_lines_it_has_logged(tmp_path):
  whole = LiveLaw(tmp_path, GRPO)
  steps = [step(h, a=0.1 + h / 9) for h in ENTROPIES]
  expected = [whole.metrics(numbers) for numbers in steps][-1]
  lines = [
    *({"step": i, **numbers} for i, numbers in enumerate(steps[:-1])),
    {"step": 79, "val/countdown/pass@1": 0.5, "val/countdown/entropy": 0.5},
    {"step": 79, "actor/entropy": None, "critic/rewards/mean": 0.5},
  ]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (tmp_path / "metrics.jsonl").write_text(text)
  assert LiveLaw(tmp_path, GRPO).metrics(steps[-1]) == expected
  assert expected["law/a"] > 0


def test_a_step_without_an_entropy_is_no_point(tmp_path):
  law = LiveLaw(tmp_path, GRPO)
  for entropy in ENTROPIES:
    before = law.metrics(step(entropy))
  after = law.metrics({"actor/entropy": math.nan, "critic/rewards/mean": 0.1})
  assert after == before


def test_a_reward_that_rises_with_entropy_has_no_ceiling(tmp_path):
  law = LiveLaw(tmp_path, GRPO)
  for entropy in ENTROPIES:
    fitted = law.metrics(step(entropy, a=-0.1))
  np.testing.assert_allclose(fitted["law/a"], -0.1)
  missing = [name for name, value in fitted.items() if math.isnan(value)]
  assert missing == [
    *("law/ceiling", "law/ceiling_stderr"),
    *("law/reward_left", "law/reward_left_stderr"),
  ]
  assert "no ceiling" in law.notes()[0]


def test_a_control_is_warned_of(tmp_path):
  config = {"control": {"name": "mine.py:hold"}, "objective": ["ppo_clip"]}
  law = LiveLaw(tmp_path, config)
  for entropy in ENTROPIES:
    law.metrics(step(entropy))
  assert law.notes()[1] == (
    "entropy law: the law is for runs in which nothing intervenes on the "
    "entropy; here there is hold"
  )
