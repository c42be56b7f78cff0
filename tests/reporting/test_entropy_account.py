"""The account of the entropy names the truth about invented runs."""

import json
import re

import numpy as np
import pytest

from entrojax.entropy.token_groups import SPLITS
from entrojax.reporting.entropy_account import account, account_html, share
from entrojax.reporting.run_logs import METRICS_FILE, read_run
from entrojax.reporting.variants import group_runs
from tests.helpers.run_logs import training_row, write_jsonl

UNIT = 1e-4
FIFTHS = SPLITS["by_entropy"]
QUADRANTS = SPLITS["by_sign"]


def invent(folder, rng, *, number=60, noise=1.0, changes=None, parts=None):
  """Write a run with a ledger and return it as a variant.

  Args:
    folder: the run directory, which does not exist yet.
    rng: draws the noise of every group in every entry.
    number: entries.
    noise: standard deviation, 1e-4 nats.
    changes: split -> the true change of each group, 1e-4 nats. All splits have
      the same sum. A split that is missing has the sum in equal parts.
    parts: contribution -> its true change, 1e-4 nats.
  """
  changes = changes or {}
  whole = sum(next(iter(changes.values()), [0.0]))
  rows = [training_row(1)]
  for step in range(2, number + 2):
    row, total = training_row(step), noise * rng.normal()
    column = {"measured": UNIT * (whole + total)}
    for split, groups in SPLITS.items():
      size = len(groups)
      true = np.array(changes.get(split, [whole / size] * size))
      # the noise of the groups adds up to the noise of the whole
      errors = rng.normal(size=size)
      own = true + noise * (errors - errors.mean()) + total / size
      column[f"measured/{split}"] = (UNIT * own).tolist()
      column[f"tokens/{split}"] = [1 / size] * size
    column["first_order"] = column["measured"] / 2
    for name, true in (parts or {}).items():
      value = true and true + noise * rng.normal()
      column[f"contribution/{name}"] = UNIT * value
    row |= {f"ledger/own/{key}": value for key, value in column.items()}
    row["ledger/held_back/measured"] = column["measured"] / 4
    rows.append(row)
  folder.mkdir()
  write_jsonl(folder / METRICS_FILE, rows)
  config = {"objective": ["ppo_clip", "entropic"], "seed": 0}
  (folder / "config.json").write_text(json.dumps(config))
  return group_runs([read_run(folder.name, folder)])[0]


def words(variant):
  """Return all sentences of a variant's account."""
  return " ".join(s for lines in account(variant).values() for s in lines)


def says(text, beginning, true):
  """Whether a sentence begins so, and gives a number near the true one."""
  match = re.match(rf"{beginning} (\d+\.\d+) ± (\d+\.\d+)", text)
  if match is None:
    return False
  size, error = map(float, match.groups())
  return abs(size - true) <= 4 * error <= true / 2


@pytest.fixture
def variant(tmp_path):
  """Return a run that loses 10 units, and says where."""
  return invent(
    tmp_path / "run",
    np.random.default_rng(0),
    changes={
      "by_entropy": [0, 0, 0, 0, -10],
      "by_sign": [-14, 0, 0, 4, 0],
      "by_verdict": [-10, 0],
    },
    parts={"policy_gradient": -8, "ppo_clip": 0, "entropic": 6, "history": -3},
  )


def test_the_account_names_the_tokens_that_lost_the_entropy(variant):
  tokens = account(variant)["Which tokens?"]
  # in the order of the splits
  assert says(
    tokens[0], "The fifth of the tokens with the highest entropy lost", 10
  )
  assert says(tokens[-1], "Right responses lost", 10)
  # every fifth of the responses lost 2 of the 10
  assert len(tokens) == 7
  for text in tokens[1:-1]:
    assert says(text, r"The \w+ fifth of each response lost", 2)


def test_the_account_names_the_quadrants_that_lost_and_gained(variant):
  lost, gained = account(variant)["Which quadrant?"]
  assert says(lost, "Probable tokens of better responses lost", 14)
  assert "with 20 % of the tokens" in lost
  percent, error = map(int, re.search(r"is (\d+) ± (\d+) %", lost).groups())
  assert abs(percent - 140) <= 4 * error <= 20  # 14 of 10
  assert says(gained, "Rare tokens of worse responses gained", 4)
  assert "of all" not in gained  # the whole fell


def test_the_account_says_what_the_control_did(variant):
  lines = account(variant)["What did the method and its control do?"]
  lowered = "lowered the entropy by"
  assert says(lines[0], f"The momentum of earlier steps {lowered}", 3)
  assert says(lines[1], f"The plain policy gradient {lowered}", 8)
  assert lines[2] == "The loss term ppo_clip did not act in these steps."
  assert says(lines[3], "The loss term entropic raised the entropy by", 6)
  # 6 of the 11 that the momentum and the plain gradient lowered it by
  taken = re.search(r"offsets (\d+) ± (\d+) % of what", lines[3])
  percent, error = map(int, taken.groups())
  assert abs(percent - 100 * 6 / 11) <= 4 * error <= 20
  assert not any("offsets" in text for text in lines[:3])
  assert lines[-1] == "No controller held the entropy at a target."


def test_the_account_says_how_many_tokens_a_loss_term_touched(tmp_path):
  run = invent(tmp_path / "run", np.random.default_rng(0))
  run.runs[0].config["objective"] = ["ppo_clip", "entropic"]
  for row in run.runs[0].rows:
    row |= {"entropic/gradient_touched": 0.25, "entropic/gradient_change": 0.5}
  lines = account(run)["What did the method and its control do?"]
  assert lines[0] == (
    "The loss term entropic changed the gradient of 25 % of the tokens, by 50 "
    "% of its norm, on average over the run."
  )


def test_where_nothing_is_clear_the_largest_group_is_named(tmp_path):
  run = invent(tmp_path / "run", np.random.default_rng(0), parts={})
  (line,) = account(run)["Which quadrant?"]
  assert re.match("No change by quadrant is clear; the largest is .* ±", line)


def test_the_account_says_how_far_a_controller_went(tmp_path):
  run = invent(tmp_path / "run", np.random.default_rng(0))
  for row in run.runs[0].rows:
    row |= {"control/error": -0.02, "control/coefficient": -row["step"] / 100}
  lines = account(run)["What did the method and its control do?"]
  # 61 rows: the first and the last seven steps
  assert lines[-2].endswith("coefficient went from -0.04 to -0.58.")
  assert lines[-1].endswith("0.020 nats below the controller's target.")


def test_the_account_compares_own_with_other_tokens(variant):
  happened = " ".join(account(variant)["What happened?"])
  assert "measured 60 single optimizer steps" in happened
  assert "Held-back tokens have 25 ± 0 % of the change" in happened
  assert "The first order explains 50 ± 0 %" in happened


def test_noise_alone_is_seldom_called_a_change(tmp_path):
  rng = np.random.default_rng(1)
  runs = [
    invent(tmp_path / str(i), rng, number=30, parts={"entropic": 1e-9})
    for i in range(60)
  ]
  texts = [words(run) for run in runs]
  named = sum(" lost " in text or " gained " in text for text in texts)
  raised = sum("term entropic had no clear" not in text for text in texts)
  # 17 groups with a chance of 0.5 % each (3 standard errors, 30 entries) are 8
  # % of the runs, 5 of 60; more than 12 have a chance below 1 in 1,000
  assert named <= 12
  assert raised <= 4
  assert sum("own tokens is not clear" in text for text in texts) >= 56


def test_a_share_has_the_error_of_a_ratio():
  rng = np.random.default_rng(2)
  shares = []
  for _ in range(400):
    part, rest = rng.normal([[3.0], [1.0]], 1.0, (2, 50))
    shares.append(share(part, part + rest))
  means, errors, _ = np.array(shares).T
  assert abs(means.mean() - 0.75) < 0.01
  # the error is what repeated samples scatter by; 400 samples know that to 4 %
  assert abs(errors.mean() / means.std() - 1) < 0.15


def test_a_change_that_is_the_same_in_all_entries_is_clear(tmp_path):
  """Its standard error is 0, by which nothing may be divided."""
  same = invent(
    tmp_path / "same",
    np.random.default_rng(0),
    noise=0.0,
    changes={"by_entropy": [0, 0, 0, 0, -8]},
    # 2^-12 in nats, so that sums and means are exact
    parts={"policy_gradient": 2**-12 / UNIT, "entropic": 0},
  )
  text = words(same)
  assert "The plain policy gradient raised the entropy by 2.44 ± 0.00" in text
  assert "The loss term entropic did not act in these steps." in text


def test_few_entries_make_no_claims(tmp_path):
  few = invent(
    tmp_path / "few",
    np.random.default_rng(0),
    number=5,
    changes={"by_entropy": [0, 0, 0, 0, -10]},
  )
  assert words(few).endswith("To say more, 10 steps are needed.")


def test_names_are_escaped_and_runs_without_a_ledger_say_nothing(
  variant, tmp_path
):
  html = account_html([variant._replace(name="<b>")])
  assert "<h4>&lt;b&gt;</h4>" in html and "<b>" not in html
  write_jsonl(tmp_path / METRICS_FILE, [training_row(1)])
  off = group_runs([read_run("off", tmp_path)])
  assert account_html(off) == ""
