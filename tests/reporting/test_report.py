"""The report: right numbers, nothing injected, absent metrics named."""

import base64
import gzip
from html.parser import HTMLParser
import json
import math
import re

import numpy as np
import pytest

from entrojax import report
from entrojax.reporting.find_runs import find_runs
from entrojax.reporting.progress import evaluation_text
from entrojax.reporting.run_logs import METRICS_FILE, logged_at_k, read_run
from entrojax.reporting.summary import format_table, summarize
from entrojax.reporting.variants import group_runs
from entrojax.system.workdir import HeldError, hold_file
from tests.helpers.run_logs import (
  BINS,
  METHODS,
  STEPS,
  write_jsonl,
  write_run,
  write_sweep,
)

SCRIPTS = 3  # the library, the figures, and what draws them


class Page(HTMLParser):
  """Collects a page's tags, attributes and text, without its scripts."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.attributes, self.text = [], [], []
    self.feed(re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += attrs

  def handle_data(self, data):
    self.text.append(data)

  @property
  def words(self):
    return " ".join(" ".join(self.text).split())


def unpack(text, name):
  (packed,) = re.findall(
    rf'<script type="text/plain" id="{name}">(.*?)</', text
  )
  return gzip.decompress(base64.b64decode(packed)).decode()


def figures(text):
  return json.loads(unpack(text, "figures"))


def read(path):
  return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
  """Report a run without and one with a controller: rows, page, runs."""
  folder = tmp_path_factory.mktemp("runs")
  runs = {
    "grpo": write_run(folder / "grpo"),
    "pi": write_run(folder / "pi", target=0.05),
  }
  rows = report.write_report(
    runs, folder / "report.html", title="Two <runs>"
  ).rows
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


def test_a_target_that_follows_a_schedule_is_compared_step_by_step(tmp_path):
  config = {"control": {"target": "linear(1.1, 0.1, 30)"}}
  path = write_run(tmp_path / "run", config=config) / METRICS_FILE
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  for row in rows:
    if "actor/entropy" in row:
      row["schedule/control.target"] = row["actor/entropy"] + 0.1
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  row = summarize(read_run("run", path.parent))
  assert row["entropy/target"] == pytest.approx(1 / 30 + 0.1, rel=1e-12)
  assert row["entropy/max_deviation"] == pytest.approx(0.1, rel=1e-12)


def test_a_target_is_compared_with_the_entropy_of_its_own_step(tmp_path):
  """A step in which no token counted has a target and no entropy.

  The target falls by 1 a step and the entropy follows it 0.1 above, so that a
  comparison with the target of another step would be off by 1 or more.
  """
  rows = [{"step": i, "schedule/control.target": 30.0 - i} for i in range(30)]
  for row in rows:
    if row["step"] not in (20, 29):
      row["actor/entropy"] = row["schedule/control.target"] + 0.1
  write_jsonl(tmp_path / METRICS_FILE, rows)
  row = summarize(read_run("run", tmp_path))
  assert row["entropy/max_deviation"] == pytest.approx(0.1, rel=1e-9)
  assert row["entropy/target"] == 1.0


@pytest.mark.parametrize("steps", [range(0), range(2)])
def test_a_target_may_have_fewer_or_other_steps_than_the_entropy(
  tmp_path, steps
):
  """A roll-back may end a schedule; and a run may have no entropy at all."""
  rows = [{"step": i, "actor/entropy": 0.5} for i in range(9 * len(steps))]
  rows = rows or [{"step": 0}, {"step": 1}]
  for row in rows[:3]:
    row["schedule/control.target"] = 0.4
  write_jsonl(tmp_path / METRICS_FILE, rows)
  row = summarize(read_run("run", tmp_path))
  assert math.isnan(row["entropy/max_deviation"])


def test_every_picture_has_its_place_and_the_command_stands_once(two_runs):
  _, text, _ = two_runs
  page = Page(text)
  places = [int(v) for name, v in page.attributes if name == "data-figure"]
  assert places == list(range(len(figures(text))))
  assert page.words.count("python -m entrojax.report") == 1
  titles = [
    *("pass@k: sums", "pass@1 against a large pass@k: sums", "maj@k: sums"),
    *("Diversity: sums", "Groups without a signal", "Distance of an update"),
    *("Change of the gradient by each member", "Time per rollout step"),
    *("Policy entropy", "Controller", "Entropy law"),
  ]
  assert all(title in page.text for title in titles)


def test_the_page_needs_nothing_from_outside(two_runs):
  page = Page(two_runs[1])
  assert not {"link", "iframe", "object", "img"} & set(page.tags)
  links = [value for name, value in page.attributes if name == "href"]
  assert "src" not in {name for name, _ in page.attributes}
  # to the chapters of the page itself
  assert len(links) > 5
  assert all(value.startswith("#chapter-") for value in links)
  assert all(f'id="{value[1:]}"' in two_runs[1] for value in links)
  assert not re.search(r"url\(|@import", two_runs[1])
  assert unpack(two_runs[1], "library").startswith("/**\n* plotly.js")


def test_plotly_knows_every_key_of_every_figure(two_runs):
  from plotly.graph_objects import Figure  # slow to import

  for figure in figures(two_runs[1]):
    Figure(figure)  # raises ValueError for the first unknown key


def test_the_same_runs_give_the_same_bytes(two_runs, tmp_path, monkeypatch):
  _, text, runs = two_runs
  folder = runs["grpo"].parent
  monkeypatch.chdir(tmp_path)
  report.write_report(runs, folder / "report.html", title="Two <runs>")
  assert (folder / "report.html").read_text(encoding="utf-8") == text


def table_below(words, heading):
  """Return the text of a page from a heading of a table's first column on."""
  return words[words.index(heading) :]


def test_a_page_that_another_process_writes_is_refused(two_runs, tmp_path):
  *_, runs = two_runs
  path = tmp_path / "report.html"
  with hold_file(path), pytest.raises(HeldError, match="another process"):
    report.write_report(runs, path)
  report.write_report(runs, path)
  assert path.read_text().startswith("<!doctype html>")


def test_the_fitted_law_is_in_the_page(two_runs):
  # training_row follows a = .15, b = .6 exactly, so the ceiling is .45; the
  # mean exp(H) of steps 21 to 30 is 1.0405: .15 (exp(H) - 1) = .0061 left,
  # slope -.15 exp(H) = -.1561; three blocks of ten steps forecast nothing
  table = table_below(Page(two_runs[1]).words, "variant R points a b ceiling")
  assert (
    "grpo critic/rewards/mean 3 0.150 [0.150, 0.150] 0.600 [0.600, 0.600] "
    "0.450 [0.450, 0.450] 0.006 -0.156 0.000 1.000 0 –"
  ) in table
  assert "fewer than 8 points" in table


def test_the_predicted_change_is_held_against_the_measured_one(two_runs):
  # the predictions of training_row are twice the changes
  words = Page(two_runs[1]).words
  assert "variant steps correlation slope grpo 29 1.000 0.500±0.000" in words


def test_the_last_value_of_every_metric_is_in_the_page(two_runs):
  words = Page(two_runs[1]).words
  assert "control/coefficient – 3" in words  # 0.1 * 30, grpo has none
  assert f"actor/entropy_histogram {BINS} bins, sum 1,200" in words


def test_a_hostile_run_is_shown_and_not_obeyed(tmp_path):
  hostile = "_$\\frac{<script>alert('x')</script>\x1b\udcff\n%{x}" + "y" * 60
  path = write_run(tmp_path / "run", target=0.3)
  other = write_run(tmp_path / "other", config={"note": "<i>"})
  metric = "<img src=x onerror=y>"
  data = "<b>&amp;"
  with (path / METRICS_FILE).open("a") as file:
    row = {metric: 1.0, f"val/{data}/pass@1": 0.5}
    file.write(json.dumps({"step": 31, "tokens": 1} | row) + "\n")
  sample = {"rollout_step": 31, "prompt": "<u>", "response": "\x1b</td><s>\nz"}
  (path / "samples.jsonl").write_text(json.dumps(sample) + "\n")
  target = tmp_path / "r.html"
  record = {"command": ["echo", "<script>"], "resumed": []}
  (path / "provenance.json").write_text(json.dumps(record))
  report.write_report(
    {hostile: path, "plain": other}, target, title="</title><script>"
  )
  text = target.read_text(encoding="utf-8")
  assert text.count("<script") == SCRIPTS
  page = Page(text)
  assert not {"b", "i", "img", "s", "u"} & set(page.tags)
  assert "onerror" not in dict(page.attributes)
  for shown in (metric, f"pass@k: {data}", "echo '<script>'", "<i>"):
    assert shown in page.words
  assert "\\x1b</td><s>\nz" in page.text
  names = {t.get("name", "") for f in figures(text) for t in f["data"]}
  assert not any("<" in name or "%{" in name for name in names)


def test_absent_metrics_leave_a_picture_out_and_are_named(tmp_path):
  bare = write_run(
    tmp_path / "bare",
    drop=(
      *("actor/", "critic/", "response_", "val/", "timing"),
      *("covariance/", "entropy/", "ppo_clip/"),
    ),
    evaluated=(),
  )
  target = tmp_path / "r.html"
  row = report.write_report({"bare": bare}, target).rows["bare"]
  text = read(target)
  assert figures(text) == []
  page = Page(text)
  assert "section" not in page.tags
  words = page.words
  assert "Entropy law: Not logged by any run: actor/entropy, critic" in words
  assert "pass@k: Not logged by any run: val/*/pass@1." in words
  assert math.isnan(row["entropy/last_third"])
  assert math.isnan(row["wall_time_s"])


def test_a_run_that_lacks_a_metric_is_named_beside_the_others(tmp_path):
  runs = {
    "full": write_run(tmp_path / "a", target=0.3),
    "short": write_run(tmp_path / "b", drop=("response_length",)),
  }
  report.write_report(runs, tmp_path / "r.html")
  words = Page((tmp_path / "r.html").read_text(encoding="utf-8")).words
  assert "Not logged by short: response_length/mean." in words
  control = "control/coefficient, control/error, control/integral"
  assert f"Not logged by short: {control}." in words


def test_nan_and_an_unfinished_last_line_do_no_harm(tmp_path):
  path = write_run(tmp_path / "run")
  with (path / METRICS_FILE).open("a") as file:
    bad = {"actor/entropy": None, "critic/rewards/mean": None}
    file.write(json.dumps({"step": 31, "tokens": 3100} | bad) + "\n")
    file.write('{"step": 32, "actor/ent')
  row = report.write_report({"run": path}, tmp_path / "r.html").rows["run"]
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
  path = write_run(tmp_path / "run", evaluated=evaluated)
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


def test_the_command_line_writes_the_page_and_prints_the_table(
  tmp_path, monkeypatch, capsys
):
  write_run(tmp_path / "runs" / "a")
  write_run(tmp_path / "runs" / "b", target=0.2)
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
  write_run(tmp_path / "x" / "seed0")
  write_run(tmp_path / "y" / "seed0", target=0.2)
  monkeypatch.chdir(tmp_path)
  report.main(["x/seed0", "y/seed0", "--output", "r.html"])
  assert {"x/seed0", "y/seed0"} <= set(capsys.readouterr().out.split())


def test_runs_of_one_name_may_be_given_by_relative_and_absolute_paths(
  tmp_path, monkeypatch
):
  for place in ("x", "y"):
    write_run(tmp_path / place / "seed0")
  monkeypatch.chdir(tmp_path)
  runs = find_runs(["x/seed0", str(tmp_path / "y" / "seed0")])
  assert list(runs) == ["x/seed0", "y/seed0"]


def test_a_run_that_links_lead_to_is_there_once(tmp_path):
  run = write_run(tmp_path / "runs" / "seed0")
  (tmp_path / "runs" / "latest").symlink_to("seed0")
  (tmp_path / "runs" / "all").symlink_to(".")  # a loop
  assert find_runs([str(tmp_path / "runs"), str(run)]) == {"seed0": run}
  # a link alone stands for the run
  latest = tmp_path / "runs" / "latest"
  assert find_runs([str(latest)]) == {"seed0": latest}


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (None, "no metrics of a run at .*metrics.jsonl"),
    ("", "metrics.jsonl holds no complete line"),
    ('{"a": 1}\n', "metrics.jsonl:1: step is None, not a number of steps"),
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


def test_a_law_of_too_few_points_is_named(tmp_path):
  path = write_run(tmp_path / "run", drop=("critic",))
  other = write_run(tmp_path / "other", target=0.2)
  report.write_report({"a": path, "b": other}, tmp_path / "r.html")
  words = Page((tmp_path / "r.html").read_text(encoding="utf-8")).words
  assert "fewer than 3 distinct entropies" in words


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
  """Report a sweep of 3 methods and 3 seeds: report, page, folder."""
  folder = tmp_path_factory.mktemp("sweep")
  write_sweep(folder / "runs", steps=30)
  target = folder / "report.html"
  written = report.write_report(report.find_runs([folder / "runs"]), target)
  return written, read(target), folder


def test_runs_that_differ_by_seed_are_one_line_with_a_band(sweep):
  written, text, _ = sweep
  assert sorted(written.rows) == sorted(METHODS)
  assert all(row["seeds"] == 3 for row in written.rows.values())
  words = Page(text).words
  for method in METHODS:
    assert f"{method} (3 seeds)" in words
  entropy = next(
    figure["data"]
    for figure in figures(text)
    if any("entropy target" in t.get("name", "") for t in figure["data"])
  )
  bands = [trace for trace in entropy if trace.get("fill")]
  lines = [trace for trace in entropy if not trace.get("fill")]
  assert len(bands) == 3
  assert sum(t["line"]["dash"] == "solid" for t in lines) == 3


def test_a_table_has_mean_deviation_and_number_of_seeds(sweep):
  written, _, folder = sweep
  row = written.rows["grpo"]
  own = [
    summarize(read_run(str(seed), folder / "runs" / f"grpo,seed={seed}"))
    for seed in range(3)
  ]
  values = [numbers["entropy/last_third"] for numbers in own]
  assert row["entropy/last_third"] == pytest.approx(np.mean(values))
  deviation = math.sqrt(sum((v - np.mean(values)) ** 2 for v in values) / 2)
  assert row["entropy/last_third_sd"] == pytest.approx(deviation)
  assert f"{np.mean(values):.3f}±{deviation:.3f}" in format_table(written.rows)


def test_the_caption_counts_the_comparisons(sweep):
  words = Page(sweep[1]).words
  # two variants, k = 1, 2, 4, ..., 64
  assert "Difference to grpo: sums" in words
  assert "14 comparisons were made on this page" in words


def test_the_settings_and_the_provenance_of_the_runs_are_shown(sweep):
  words = Page(sweep[1]).words
  assert "variant numbers of the seeds control.target objective" in words
  assert 'grpo 0, 1, 2 null ["grpo"]' in words
  assert "grpo,seed=1 python -m entrojax.main --config=grpo.py" in words


def test_a_run_without_provenance_is_said_to_have_none(two_runs):
  words = Page(two_runs[1]).words
  assert "pi not recorded (no provenance.json)" in words


def test_samples_of_the_last_evaluation_are_shown(sweep):
  page = Page(sweep[1])
  assert "(1*7)-9\n<b>grpo</b> 0 8+8+8+8+8+8+8+8+8+" in page.text
  assert "b" not in page.tags


def test_a_damaged_unit_is_named_and_the_others_are_shown(
  tmp_path, monkeypatch, capsys
):
  write_run(tmp_path / "runs" / "whole")
  half = write_run(tmp_path / "runs" / "half", target=0.2)
  (half / "config.json").write_text('{"seed": 0, "con')
  empty = tmp_path / "runs" / "empty"
  empty.mkdir()
  (empty / "config.json").write_text("{}")
  back = write_run(tmp_path / "runs" / "back")
  (back / "roll_backs.jsonl").write_text('{"alarm": "col')
  monkeypatch.chdir(tmp_path)
  report.main(["runs", "--output", "r.html"])
  printed = capsys.readouterr()
  assert "left out: back: runs/back/roll_backs.jsonl:1: not" in printed.err
  assert "left out: half: runs/half/config.json is not JSON" in printed.err
  assert "left out: empty: no metrics of a run at runs/empty" in printed.err
  assert "whole" in printed.out
  words = Page(read(tmp_path / "r.html")).words
  assert "Left out: half: runs/half/config.json is not JSON" in words


@pytest.mark.parametrize(
  ("file", "content", "message"),
  [
    ("metrics.jsonl", '{"step": 1, "x": "y"}\n', ":1: x is neither"),
    ("metrics.jsonl", '{"step": 1, "x": [[1]]}\n', ":1: x is neither"),
    ("metrics.jsonl", '{"step": 1e30}\n', ":1: step is 1e"),
    ("metrics.jsonl", f'{{"step": {10**30}}}\n', ":1: step is 1000"),
    ("metrics.jsonl", '{"x": 1}\n', ":1: step is None, not a number of"),
    (
      "metrics.jsonl",
      f'{{"step": 1, "x": {"[" * 100_000}}}\n{{"step": 2}}\n',
      ":1: not a JSON object",
    ),
    ("evaluations.jsonl", '{"step": 1}\n{}\n', ":1: not the right answers"),
    ("samples.jsonl", '{"prompt": ""}\n{}\n', ":1: not a sampled response"),
    ("provenance.json", "[]", " is damaged: delete it"),
    ("config.json", "[]", "not a JSON object"),
  ],
)
def test_a_damaged_file_of_a_run_is_named(tmp_path, file, content, message):
  path = write_run(tmp_path / "run")
  (path / file).write_text(content)
  with pytest.raises(ValueError, match=f"{file}.*{message}"):
    read_run("run", path)


def test_a_k_of_400_digits_is_no_pass_at_k():
  row = {"val/toy/pass@2": 0.5, f"val/toy/pass@{'1' * 400}": 0.5}
  assert logged_at_k(row, "toy")[0].tolist() == [2]
  assert evaluation_text(row) == "toy pass@2 0.5"


def test_a_policy_whose_entropy_is_not_that_of_its_groups_is_named(tmp_path):
  """The two runs differ in their means, 0.4 against 0.4 and 0.5."""
  for name, entropy in (("alike", 0.4), ("selected", 0.5)):
    (tmp_path / name).mkdir()
    row = {"step": 1, "rollout/entropy": 0.4, "actor/entropy": entropy}
    (tmp_path / name / METRICS_FILE).write_text(json.dumps(row) + "\n")
  runs = [read_run(name, tmp_path / name) for name in ("alike", "selected")]
  notes = list(report._selected_entropies(group_runs(runs)))
  assert notes == [
    "The policy of selected has a mean entropy of 0.4 over everything it "
    "sampled (rollout/entropy), and 0.5 over the groups that it was trained on "
    "(actor/entropy)."
  ]


def test_runs_of_different_tasks_are_not_ranked_or_compared_together(tmp_path):
  runs = {}
  for task in ("sums", "logic"):
    for method in ("grpo", "pi"):
      config = {"task": {"name": task}, "objective": [method]}
      path = tmp_path / f"{method}-{task}"
      runs[path.name] = write_run(path, config=config)
  report.write_report(runs, tmp_path / "r.html")
  words = Page(read(tmp_path / "r.html")).words
  assert (
    "different tasks (sums: grpo-sums, pi-sums; logic: grpo-logic, pi-logic)"
    in words
  )
  assert words.count("variant sums: pass@1") == 2  # one table for each task
  assert "Difference to grpo-sums: sums" in words
  assert "Difference to grpo-logic: sums" in words


def test_an_unfinished_run_is_named(tmp_path):
  path = write_run(tmp_path / "run", config={"num_rollout_steps": 90})
  report.write_report({"run": path}, tmp_path / "r.html")
  words = Page(read(tmp_path / "r.html")).words
  assert "Not finished: run (rollout step 30 of 90)." in words


def test_a_baseline_that_is_no_variant_is_refused(tmp_path):
  path = write_run(tmp_path / "run")
  with pytest.raises(ValueError, match=r"--baseline=dapo: .* there are run"):
    report.write_report({"run": path}, tmp_path / "r.html", baseline="dapo")
