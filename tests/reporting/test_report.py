"""The report: right numbers, nothing injected, absent metrics named."""

import base64
from html.parser import HTMLParser
import json
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from entrojax import report
from entrojax.entropy.law import fit_entropy_law, predict
from entrojax.metrics import ENTROPY_EDGES
from entrojax.reporting.fit_points import (
  entropy_changes,
  law_points,
  line_through_origin,
)
from entrojax.reporting.plotting import PALETTE, look, running_mean
from entrojax.reporting.run_logs import METRICS_FILE, read_run
from entrojax.reporting.summary import format_table, summarize

pytestmark = pytest.mark.slow

BINS = len(ENTROPY_EDGES) - 1
STEPS = 30
KS = (1, 4, 64, 256)
NUM_SECTIONS = 11  # of runs with one data set


def evaluation(step, rate):
  """Return an evaluation line: pass@k = 1 - (1 - rate)^k, error 0.01."""
  row = {"step": step, "rollout_step": step, "tokens": 100 * step}
  for k in KS:
    row[f"val/sums/pass@{k}"] = 1 - (1 - rate) ** k
    row[f"val/sums/pass@{k}_stderr"] = 0.01
    row[f"val/sums/maj@{k}"] = rate
  return row


def training(step, target):
  entropy = 1.0 / step
  row = {
    "step": step,
    "rollout_step": step,
    "tokens": 100 * step,
    "actor/entropy": entropy,
    "actor/entropy_histogram": [float(step)] * BINS,
    "critic/rewards/mean": 0.6 - 0.15 * math.exp(entropy),
    "response_length/mean": 10.0 + step,
    "timing_s/step": 2.0,
    "entropy/positive": entropy + 0.1,
    "entropy/negative": entropy - 0.1,
    # twice the change to the next step's entropy, 1 / (step + 1) - 1 / step
    "covariance/predicted_change": -2.0 / (step * (step + 1)),
    "covariance/mean": 2.0 / (step * (step + 1)),
    "covariance/positive_probable": 0.4,
    "covariance/positive_rare": -0.3,
    "covariance/negative_probable": -0.2,
    "covariance/negative_rare": 0.1,
  }
  if target is not None:
    row |= {
      "control/coefficient": 0.1 * step,
      "control/error": entropy - target,
      "control/integral": 0.5,
    }
  return row


def make_run(path, target=None, drop=(), evaluated=(0, 15, STEPS)):
  """Write a run that lacks the metrics whose names begin as in `drop`."""
  rows = [training(step, target) for step in range(1, STEPS + 1)]
  rows += [evaluation(step, 0.2 + 0.01 * step) for step in evaluated]
  rows.sort(key=lambda row: row["step"])
  path.mkdir(parents=True)
  with (path / METRICS_FILE).open("w") as file:
    for row in rows:
      kept = {k: v for k, v in row.items() if not k.startswith(tuple(drop))}
      file.write(json.dumps(kept) + "\n")
  config = {"control": {"target": target}}
  (path / "config.json").write_text(json.dumps(config))
  return path


class Page(HTMLParser):
  """Collects a page's tags, attributes and text."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.attributes, self.text = [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += attrs

  def handle_data(self, data):
    self.text.append(data)

  @property
  def words(self):
    return " ".join(" ".join(self.text).split())


def pictures(text):
  documents = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", text)
  return [ElementTree.fromstring(base64.b64decode(data)) for data in documents]


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
  """Report a run without and one with a controller: rows, page, runs."""
  folder = tmp_path_factory.mktemp("runs")
  runs = {
    "grpo": make_run(folder / "grpo"),
    "pi": make_run(folder / "pi", target=0.05),
  }
  rows = report.write_report(runs, folder / "report.html", title="Two <runs>")
  return rows, (folder / "report.html").read_text(encoding="utf-8"), runs


def test_the_summary_holds_the_numbers_of_the_runs(two_runs):
  row = two_runs[0]["pi"]
  last_third = 1 / np.arange(21, 31)
  expected = {
    "step": 30,
    "tokens": 3000,
    "entropy/first": 1.0,
    "entropy/last": 1 / 30,
    "entropy/last_third": last_third.mean(),
    "entropy/target": 0.05,
    "entropy/max_deviation": 0.05 - 1 / 30,  # at step 30
    "length/first_tenth": 12.0,  # steps 1 to 3
    "length/last_tenth": 39.0,  # steps 28 to 30
    "wall_time_s": 60.0,
    "val/sums/pass@1/start": 0.2,
    "val/sums/pass@1/end": 0.5,
    "val/sums/pass@4/end": 1 - 0.5**4,
    "val/sums/pass@256/end_stderr": 0.01,
  }
  actual = {key: row[key] for key in expected}
  assert actual == pytest.approx(expected, rel=1e-12)


def test_a_run_without_a_target_has_no_deviation(two_runs):
  row = two_runs[0]["grpo"]
  assert math.isnan(row["entropy/target"])
  assert math.isnan(row["entropy/max_deviation"])


def test_every_section_has_its_picture_and_its_command(two_runs):
  _, text, _ = two_runs
  assert len(pictures(text)) == NUM_SECTIONS
  page = Page(text)
  assert page.tags.count("pre") == page.tags.count("section") == NUM_SECTIONS
  assert page.words.count("python -m entrojax.report") == NUM_SECTIONS


def test_the_page_needs_nothing_from_outside(two_runs):
  page = Page(two_runs[1])
  assert not {"script", "link", "iframe", "object"} & set(page.tags)
  links = [value for name, value in page.attributes if name in ("src", "href")]
  assert all(link.startswith("data:image/svg+xml;base64,") for link in links)
  assert not re.search(r"url\(|@import", two_runs[1])


def test_the_same_runs_give_the_same_bytes(two_runs, tmp_path, monkeypatch):
  _, text, runs = two_runs
  folder = runs["grpo"].parent
  monkeypatch.chdir(tmp_path)
  report.write_report(runs, folder / "report.html", title="Two <runs>")
  assert (folder / "report.html").read_text(encoding="utf-8") == text


def test_the_fitted_law_is_in_the_page(two_runs):
  # training() follows a = .15, b = .6 exactly, so the ceiling is .45
  words = Page(two_runs[1]).words
  assert "a 0.150 [0.150, 0.150]" in words
  assert "b 0.600 [0.600, 0.600]" in words
  assert "ceiling b − a 0.450 [0.450, 0.450]" in words
  # at H = 1/30: .15 (exp(H) - 1) = .0051 left, slope -.15 exp(H) = -.1551
  assert "R left at the last entropy 0.005" in words
  assert "dR/dH there (1/nats) -0.155" in words


def test_the_forecast_of_the_law_is_in_the_page(two_runs):
  words = Page(two_runs[1]).words
  # 15 % of 30 points is 4.5; the law holds exactly
  assert "forecast: fitted points 4 4" in words
  assert "forecast: RMSE over the rest 0.000 0.000" in words


def test_the_predicted_change_is_held_against_the_measured_one(two_runs):
  # training()'s predictions are twice the changes
  words = Page(two_runs[1]).words
  assert "run steps correlation slope grpo 29 1.000 0.500±0.000" in words


def test_the_last_value_of_every_metric_is_in_the_page(two_runs):
  words = Page(two_runs[1]).words
  assert "control/coefficient – 3" in words  # 0.1 * 30, grpo has none
  assert f"actor/entropy_histogram {BINS} bins, sum 1,200" in words


def test_a_hostile_run_is_shown_and_not_obeyed(tmp_path):
  hostile = "_$\\frac{<script>alert('x')</script>\x1b\udcff\n" + "y" * 60
  path = make_run(tmp_path / "run", target=0.3)
  metric = "<img src=x onerror=y>"
  data = "<b>&amp;"
  with (path / METRICS_FILE).open("a") as file:
    row = {metric: 1.0, f"val/{data}/pass@1": 0.5}
    file.write(json.dumps({"step": 31, "tokens": 1} | row) + "\n")
  target = tmp_path / "r.html"
  report.write_report(
    {hostile: path, "plain": path},
    target,
    title="</title><script>",
    commands={"plain": "echo '<script>'"},
  )
  text = target.read_text(encoding="utf-8")
  page = Page(text)
  assert not {"script", "b"} & set(page.tags)
  assert page.tags.count("img") == len(pictures(text))  # all well-formed XML
  assert "onerror" not in dict(page.attributes)
  assert metric in page.words
  assert f"pass@k: {data}" in page.words
  assert "echo '<script>'" in page.words


def test_absent_metrics_leave_a_picture_out_and_are_named(tmp_path):
  bare = make_run(
    tmp_path / "bare",
    drop=(
      *("actor/", "critic/", "response_", "val/", "timing"),
      *("covariance/", "entropy/"),
    ),
    evaluated=(),
  )
  row = report.write_report({"bare": bare}, tmp_path / "r.html")["bare"]
  text = (tmp_path / "r.html").read_text(encoding="utf-8")
  assert pictures(text) == []
  words = Page(text).words
  left_out = "This picture is left out. Not logged by any run:"
  assert words.count(left_out) == NUM_SECTIONS
  assert f"{left_out} actor/entropy, critic/rewards/mean." in words
  assert f"{left_out} val/*/pass@1." in words
  assert math.isnan(row["entropy/last_third"])
  assert math.isnan(row["wall_time_s"])


def test_a_run_that_lacks_a_metric_is_named_beside_the_others(tmp_path):
  runs = {
    "full": make_run(tmp_path / "a", target=0.3),
    "short": make_run(tmp_path / "b", drop=("response_length",)),
  }
  report.write_report(runs, tmp_path / "r.html")
  words = Page((tmp_path / "r.html").read_text(encoding="utf-8")).words
  assert "Not logged by short: response_length/mean." in words
  control = "control/coefficient, control/error, control/integral"
  assert f"Not logged by short: {control}." in words


def test_nan_and_an_unfinished_last_line_do_no_harm(tmp_path):
  path = make_run(tmp_path / "run")
  with (path / METRICS_FILE).open("a") as file:
    bad = {"actor/entropy": None, "critic/rewards/mean": None}
    file.write(json.dumps({"step": 31, "tokens": 3100} | bad) + "\n")
    file.write('{"step": 32, "actor/ent')
  row = report.write_report({"run": path}, tmp_path / "r.html")["run"]
  assert row["step"] == 31
  assert math.isnan(row["entropy/last"])
  # the last third of 31 values are steps 21 to 31, the NaN not counted
  third = (1 / np.arange(21, 31)).mean()
  assert row["entropy/last_third"] == pytest.approx(third)


@pytest.mark.parametrize(
  ("evaluated", "start", "end"),
  [((0,), True, False), ((STEPS,), False, True), ((5, 9), True, True)],
)
def test_one_evaluation_is_the_start_at_step_0_and_otherwise_the_end(
  tmp_path, evaluated, start, end
):
  path = make_run(tmp_path / "run", evaluated=evaluated)
  row = summarize(read_run("run", path))
  assert ("val/sums/pass@1/start" in row) == start
  assert ("val/sums/pass@1/end" in row) == end


def test_the_table_for_a_terminal_keeps_to_its_width(two_runs):
  rows = {f"{name} {i}": r for i in range(2) for name, r in two_runs[0].items()}
  table = format_table(rows, width=100)
  assert max(map(len, table.splitlines())) <= 100
  assert len(table.split("\n\n")) == 2
  (line,) = [
    line
    for line in format_table(two_runs[0]).splitlines()
    if line.startswith("sums: pass@4 ")
  ]
  # 1 - .8^4 = .5904 and 1 - .5^4 = .9375
  assert line.split()[2:] == ["0.590±0.010", "→", "0.938±0.010"] * 2


def test_the_command_that_made_a_run_stands_beside_it(tmp_path):
  path = make_run(tmp_path / "run", target=0.25)
  report.write_report(
    {"run": path}, tmp_path / "r.html", commands={"run": "make run"}
  )
  page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
  assert "run, target 0.25 nats make run" in page.words


def test_a_command_for_a_run_that_is_not_shown_is_refused(tmp_path):
  path = make_run(tmp_path / "run")
  with pytest.raises(ValueError, match="another"):
    report.write_report(
      {"run": path}, tmp_path / "r.html", commands={"another": "x"}
    )


def test_the_command_line_writes_the_page_and_prints_the_table(
  tmp_path, monkeypatch, capsys
):
  make_run(tmp_path / "runs" / "a")
  make_run(tmp_path / "runs" / "b")
  monkeypatch.chdir(tmp_path)
  report.main(["runs/a", "runs/b", "--output", "out/r.html"])
  printed = capsys.readouterr().out
  assert "sampled tokens" in printed
  assert "out/r.html" in printed
  command = (
    "python -m entrojax.report runs/a runs/b --output out/r.html "
    "--title 'Entropy report'"
  )
  page = Page((tmp_path / "out" / "r.html").read_text(encoding="utf-8"))
  assert command in page.words


def test_runs_of_one_name_are_called_by_their_paths(
  tmp_path, monkeypatch, capsys
):
  make_run(tmp_path / "x" / "seed0")
  make_run(tmp_path / "y" / "seed0")
  monkeypatch.chdir(tmp_path)
  report.main(["x/seed0", "y/seed0", "--output", "r.html"])
  assert {"x/seed0", "y/seed0"} <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (None, "no metrics of a run at .*metrics.jsonl"),
    ("", "metrics.jsonl holds no complete line"),
    ('{"a": 1}\n', "metrics.jsonl has a line without a step"),
    ('{"step": 1\n{"step": 2}\n', "metrics.jsonl:1: not a JSON object"),
  ],
)
def test_a_run_that_cannot_be_read_ends_the_command_with_its_path(
  tmp_path, capsys, content, message
):
  if content is not None:
    (tmp_path / METRICS_FILE).write_text(content)
  with pytest.raises(SystemExit) as ended:
    report.main([str(tmp_path), "--output", str(tmp_path / "r.html")])
  assert ended.value.code == 2
  assert re.search(message, capsys.readouterr().err)


def test_a_running_mean_cuts_its_window_at_the_ends_and_skips_nan():
  values = np.array([1.0, 2.0, np.nan, 6.0])
  np.testing.assert_allclose(running_mean(values, 3), [1.5, 1.5, 4.0, 6.0])
  np.testing.assert_array_equal(running_mean(values, 1), values)
  alone = running_mean(np.array([1.0, np.nan, np.nan, np.nan, 2.0]), 3)
  np.testing.assert_allclose(alone, [1.0, 1.0, np.nan, 2.0, 2.0])


def test_runs_keep_apart_beyond_the_palette():
  looks = [look(run_index) for run_index in range(2 * len(PALETTE))]
  assert len(set(looks)) == len(looks)


def test_a_law_of_too_few_points_is_named(tmp_path):
  path = make_run(tmp_path / "run", drop=("critic",))
  other = make_run(tmp_path / "other")
  report.write_report({"a": path, "b": other}, tmp_path / "r.html")
  words = Page((tmp_path / "r.html").read_text(encoding="utf-8")).words
  assert "fewer than 3 distinct entropies" in words


def test_the_law_is_fitted_to_the_lines_that_have_both_numbers(tmp_path):
  run = read_run("run", make_run(tmp_path / "run"))
  entropy, reward, metric = law_points(run)
  assert metric == "critic/rewards/mean"
  assert entropy.size == STEPS  # evaluation lines have neither
  law = fit_entropy_law(entropy, reward)
  np.testing.assert_allclose(predict(law, entropy), reward, atol=1e-12)


def test_five_evaluations_make_a_law_of_validation_accuracy(tmp_path):
  few = make_run(tmp_path / "few", evaluated=(0, 10, 20, 30))
  run = make_run(tmp_path / "run", evaluated=(0, 1, 10, 20, 30))
  assert law_points(read_run("few", few)).metric == "critic/rewards/mean"
  entropy, reward, metric = law_points(read_run("run", run))
  assert metric == "val/sums/pass@1"
  np.testing.assert_allclose(reward, [0.2, 0.21, 0.3, 0.4, 0.5])
  # the entropy of the same step; before the first step, the first step's
  np.testing.assert_allclose(entropy, [1.0, 1.0, 1 / 10, 1 / 20, 1 / 30])
  report.write_report({"few": few, "run": run}, tmp_path / "r.html")
  words = Page((tmp_path / "r.html").read_text(encoding="utf-8")).words
  assert "R critic/rewards/mean val/sums/pass@1 points 30 5" in words
  # 15 % of five evaluations is less than one point
  assert (
    "run: the first part has fewer than 3 distinct entropies, so no forecast."
    in words
  )


def test_evaluations_without_entropies_leave_the_training_reward(tmp_path):
  path = make_run(tmp_path / "run", drop=("actor/",), evaluated=range(9))
  assert law_points(read_run("run", path)).reward.size == 0


def test_entropy_changes_are_between_successive_rollout_steps(tmp_path):
  rows = [
    {"rollout_step": 0, "val/sums/pass@1": 0.5},
    {"rollout_step": 1, "actor/entropy": 1.0, "predicted": -0.5},
    {"rollout_step": 2, "actor/entropy": 0.75, "predicted": -0.25},
    {"rollout_step": 2, "val/sums/pass@1": 0.5},
    {"rollout_step": 3, "actor/entropy": 0.875, "predicted": 0.125},
    {"rollout_step": 5, "actor/entropy": 0.5, "predicted": 0.25},
    {"rollout_step": 6, "actor/entropy": 0.25, "predicted": None},
    {"rollout_step": 7, "actor/entropy": 0.0},
  ]
  with (tmp_path / METRICS_FILE).open("w") as file:
    for row in rows:
      row = {"step": 2 * row["rollout_step"], **row}
      if "predicted" in row:
        row["covariance/predicted_change"] = row.pop("predicted")
      file.write(json.dumps(row) + "\n")
  predicted, measured = entropy_changes(read_run("run", tmp_path))
  # 3 has no next step; 6 has no prediction
  np.testing.assert_array_equal(predicted, [-0.5, -0.25, 0.25])
  np.testing.assert_array_equal(measured, [-0.25, 0.125, -0.25])


def test_a_line_through_the_origin_has_its_textbook_numbers():
  slope, error, correlation = line_through_origin(
    np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 4.0])
  )
  # x y = 16, x x = 14; residuals 6/7, -9/7, 4/7: squares 133/49
  assert slope == pytest.approx(16 / 14)
  assert error == pytest.approx(math.sqrt(133 / 49 / 2 / 14))
  # centred: x -1 0 1, y -1/3 -4/3 5/3: 2 / sqrt(2 * 42/9)
  assert correlation == pytest.approx(2 / math.sqrt(2 * 42 / 9))


@pytest.mark.parametrize(
  ("x", "y"), [([], []), ([1.0], [1.0]), ([0.0, 0.0], [1.0, 2.0])]
)
def test_a_line_through_too_little_is_nan(x, y):
  assert np.isnan(line_through_origin(np.array(x), np.array(y))).all()


def test_constant_values_have_no_correlation():
  slope, error, correlation = line_through_origin(np.ones(3), np.ones(3))
  assert (slope, error) == (1.0, 0.0)
  assert math.isnan(correlation)
