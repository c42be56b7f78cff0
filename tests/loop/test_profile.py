"""Traces of rollout steps in the run directory."""

import pytest

from entrojax import train as train_module
from entrojax.system.profiling import describe_missed
from entrojax.train import train
from tests.helpers.system import tiny_config

pytestmark = [
  pytest.mark.usefixtures("one_device", "session_data"),
  pytest.mark.slow,
]


def traces(workdir):
  return list((workdir / "profile").rglob("*.xplane.pb"))


def test_the_steps_of_a_profile_are_traced_into_the_run_directory(
  base, tmp_path
):
  train(tiny_config(base), tmp_path / "run", profile=(2, 2))
  (trace,) = traces(tmp_path / "run")
  # the scopes of the sampler are names in the trace
  for scope in (b"rollout_step", b"prefill", b"decode_step", b"unembed"):
    assert scope in trace.read_bytes()


def test_a_run_that_ends_amid_a_profile_writes_the_trace(
  base, tmp_path, monkeypatch
):
  def fails(record):
    raise ValueError("an update went wrong")

  monkeypatch.setattr(train_module, "wait_for_update", fails)
  with pytest.raises(ValueError, match="an update went wrong"):
    train(tiny_config(base), tmp_path / "failed", profile=(1, 2))
  assert traces(tmp_path / "failed")


def test_a_resumed_run_names_the_steps_of_a_profile_that_it_has_taken(
  base, finished, capsys
):
  train(tiny_config(base), finished, profile=(1, 2))
  assert not traces(finished)
  assert (
    "--profile=1:2: the run resumes after rollout step 2, so nothing is "
    "recorded now" in capsys.readouterr().out
  )
  assert "so only 4:5 is recorded now" in describe_missed((3, 5), 3)
  assert describe_missed((4, 5), 3) == "" == describe_missed(None, 3)


@pytest.mark.parametrize("steps", [(0, 1), (2, 1), (1, 3), (-2, -1)])
def test_a_profile_of_steps_that_the_run_has_not_is_refused(
  steps, base, tmp_path
):
  with pytest.raises(ValueError, match=r"--profile=.* num_rollout_steps = 2"):
    train(tiny_config(base), tmp_path / "run", profile=steps)
  assert not (tmp_path / "run").exists()
