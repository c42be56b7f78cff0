"""The writer: lines that survive kills, and sinks that agree."""

import json
import resource
import signal
import struct
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from entrojax.entropy.histogram import ENTROPY_EDGES
from entrojax.reporting.run_logs import METRICS_FILE, read_rows
from entrojax.reporting.writer import Writer, open_writer
from entrojax.system.workdir import append_text

BINS = len(ENTROPY_EDGES) - 1


def write_steps(writer, first, last):
  """Write two optimizer steps for each rollout step first ... last."""
  for rollout_step in range(first, last + 1):
    for step in (2 * rollout_step - 1, 2 * rollout_step):
      writer.write(
        {"actor/entropy": 1.0 / step},
        step=step,
        rollout_step=rollout_step,
        tokens=100 * rollout_step,
      )


def read_events(workdir):
  """Read TensorBoard's files: u64 length, u32 crc, event, u32 crc."""
  events = []
  for file in sorted((workdir / "tensorboard").iterdir()):
    data, at = file.read_bytes(), 0
    while at < len(data):
      (length,) = struct.unpack_from("<Q", data, at)
      events.append(event_pb2.Event.FromString(data[at + 12 :][:length]))
      at += 12 + length + 4
  return events


def test_a_line_starts_with_the_axes_and_is_on_disk_at_once(tmp_path):
  with open_writer(tmp_path) as writer:
    writer.write(
      {"a": jnp.float32(0.5), "b": np.int64(3), "c": jnp.array([1.0, 2.0])},
      step=jnp.int32(4),
      rollout_step=2,
      tokens=1000,
    )
    text = (tmp_path / METRICS_FILE).read_text()
  assert text == (
    '{"step": 4, "rollout_step": 2, "tokens": 1000, '
    '"a": 0.5, "b": 3, "c": [1.0, 2.0]}\n'
  )


def test_a_text_that_cannot_be_appended_as_a_whole_is_not_appended(
  tmp_path, monkeypatch
):
  path = tmp_path / "lines"
  path.write_text("one\n")
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  try:
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    with pytest.raises(OSError, match="File too large"):
      append_text(path, "much more\n")
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)
  assert path.read_text() == "one\n"
  append_text(path, "two\n")
  assert path.read_text() == "one\ntwo\n"


def test_non_finite_numbers_are_absent_and_null_within_a_list(tmp_path):
  def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")

  with open_writer(tmp_path) as writer:
    metrics = {"a": float("nan"), "b": -np.inf, "c": [1.0, np.nan]}
    writer.write(metrics, step=1, rollout_step=1, tokens=1)
  text = (tmp_path / METRICS_FILE).read_text()
  line = json.loads(text, parse_constant=refuse)
  assert line.keys() & {"a", "b", "c"} == {"c"}
  assert line["c"] == [1.0, None]
  (row,) = read_rows(tmp_path / METRICS_FILE)
  assert np.isnan(row["c"][1])


@pytest.mark.parametrize("value", ["text", [[1.0]], {"a": 1}])
def test_a_value_that_is_no_number_is_refused_by_name(value):
  with pytest.raises(ValueError, match="odd/metric"):
    Writer(()).write({"odd/metric": value}, step=1, rollout_step=1, tokens=1)


def test_a_metric_may_not_take_the_name_of_an_axis():
  with pytest.raises(ValueError, match="tokens"):
    Writer(()).write({"tokens": 1}, step=1, rollout_step=1, tokens=1)


def test_an_interrupted_and_resumed_file_equals_an_uninterrupted_one(tmp_path):
  with open_writer(tmp_path / "whole") as writer:
    write_steps(writer, 1, 6)
  with open_writer(tmp_path / "cut") as writer:
    write_steps(writer, 1, 5)  # the last checkpoint is of rollout step 3
  file = tmp_path / "cut" / METRICS_FILE
  file.write_text(file.read_text() + '{"step": 11, "rollout_st')
  with open_writer(tmp_path / "cut", resumed_rollout_step=3) as writer:
    write_steps(writer, 4, 6)
  assert file.read_bytes() == (tmp_path / "whole" / METRICS_FILE).read_bytes()


def test_a_new_run_refuses_a_directory_that_holds_one(tmp_path):
  with open_writer(tmp_path) as writer:
    write_steps(writer, 1, 1)
  with pytest.raises(FileExistsError, match=METRICS_FILE):
    open_writer(tmp_path)
  assert len(read_rows(tmp_path / METRICS_FILE)) == 2


def test_resuming_from_minus_one_starts_over(tmp_path):
  with open_writer(tmp_path) as writer:
    writer.write({}, step=0, rollout_step=0, tokens=0)
    write_steps(writer, 1, 2)
  open_writer(tmp_path, resumed_rollout_step=-1).close()
  assert read_rows(tmp_path / METRICS_FILE) == []


def test_reading_passes_over_an_unfinished_last_line_only(tmp_path):
  file = tmp_path / METRICS_FILE
  file.write_text('{"step": 1}\n{"step": 2}\n{"st')
  assert read_rows(file) == [{"step": 1}, {"step": 2}]
  file.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
  with pytest.raises(ValueError, match=r"metrics\.jsonl:2"):
    read_rows(file)


def test_tensorboard_gets_scalars_and_the_histogram(tmp_path):
  counts = np.arange(BINS)
  with open_writer(tmp_path) as writer:
    writer.write(
      {"actor/entropy": 0.25, "actor/entropy_histogram": counts},
      step=7,
      rollout_step=1,
      tokens=10,
    )
  values = {
    value.tag: (event.step, value)
    for event in read_events(tmp_path)
    for value in event.summary.value
  }
  step, scalar = values["actor/entropy"]
  assert (step, scalar.simple_value) == (7, 0.25)
  histogram = values["actor/entropy_histogram"][1].histo
  assert list(histogram.bucket) == counts.tolist()
  assert list(histogram.bucket_limit) == list(ENTROPY_EDGES[1:])
  assert histogram.num == counts.sum()


def test_tensorboard_gets_no_number_that_is_not_finite(tmp_path):
  row = {"a": float("nan"), "b": -np.inf, "c": 0.5}
  with open_writer(tmp_path) as writer:
    writer.write(row, step=1, rollout_step=1, tokens=1)
  tags = [v.tag for e in read_events(tmp_path) for v in e.summary.value]
  assert set(tags) & row.keys() == {"c"}


def test_resuming_hides_the_dropped_steps_in_tensorboard(tmp_path):
  with open_writer(tmp_path) as writer:
    write_steps(writer, 1, 5)
  with open_writer(tmp_path, resumed_rollout_step=3) as writer:
    write_steps(writer, 4, 4)
  starts = [e.step for e in read_events(tmp_path) if e.HasField("session_log")]
  assert starts == [7]  # rollout step 3 ended with optimizer step 6


def test_weights_and_biases_asked_for_but_absent_is_a_clear_error(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, "wandb", None)
  with pytest.raises(RuntimeError, match="pip install wandb"):
    open_writer(tmp_path, wandb_project="p")


def test_weights_and_biases_resumes_under_the_id_of_the_first_start(
  tmp_path, monkeypatch
):
  settings, logged = [], []

  def init(**options):
    settings.append(options)
    return types.SimpleNamespace(
      id=options["id"] or "first",
      log=lambda row, step: logged.append((step, row)),
      finish=lambda: None,
    )

  monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
  for resumed in (None, 1):
    with open_writer(
      tmp_path, wandb_project="p", resumed_rollout_step=resumed
    ) as writer:
      writer.write({"a": 1.0, "b": [1]}, step=3, rollout_step=1, tokens=5)
  assert [options["id"] for options in settings] == [None, "first"]
  row = {"step": 3, "rollout_step": 1, "tokens": 5, "a": 1.0}
  assert logged == [(3, row)] * 2


def test_every_sink_gets_the_row_that_write_returns():
  rows = []
  sink = types.SimpleNamespace(write=rows.append, close=lambda: None)
  with Writer([sink, sink]) as writer:
    row = writer.write({"a": 1}, step=1, rollout_step=1, tokens=1)
  assert rows == [row, row]
