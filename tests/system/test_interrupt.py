"""Signals become flags, also of a run within a sweep."""

import signal

import pytest

from entrojax.system.interrupt import Interruption, report_to


@pytest.fixture(autouse=True)
def messages():
  own = []
  with report_to(own.append):
    yield own


def test_the_first_signal_sets_the_flag_and_the_second_one_interrupts(messages):
  with Interruption() as interruption:
    signal.raise_signal(signal.SIGTERM)
    assert interruption.received == "SIGTERM"
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
  assert len(messages) == 1
  assert messages[0].startswith("SIGTERM received.")


def test_a_signal_between_two_runs_of_a_sweep_ends_the_next_one():
  with Interruption() as sweep:
    signal.raise_signal(signal.SIGTERM)
    with Interruption() as run:
      assert run.received == "SIGTERM"
      with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
  assert sweep.received == "SIGTERM"


def test_a_signal_during_a_run_ends_the_sweep_too(messages):
  with Interruption() as sweep:
    with Interruption() as run:
      signal.raise_signal(signal.SIGINT)
      assert run.received == "SIGINT"
    assert sweep.received == "SIGINT"
  assert len(messages) == 1


def test_a_run_that_asks_to_end_does_not_end_the_sweep():
  with Interruption() as sweep:
    with Interruption() as run:
      run.request("alarm")
      assert run.ends and run.received is None
    assert not sweep.ends and sweep.reason == "alarm"
    with Interruption() as another:
      assert not another.ends and another.reason is None


def test_a_signal_after_a_request_is_the_first_one(messages):
  with Interruption() as run:
    run.request("alarm")
    signal.raise_signal(signal.SIGTERM)  # raises no KeyboardInterrupt
    assert run.received == "SIGTERM" and len(messages) == 1
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGTERM)


def test_handlers_are_restored():
  before = signal.getsignal(signal.SIGTERM)
  with Interruption(), Interruption():
    pass
  assert signal.getsignal(signal.SIGTERM) is before
