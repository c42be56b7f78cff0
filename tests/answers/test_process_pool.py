"""Calls in processes: limits hold, and crashes do not affect other calls."""

import gc
import os
import sys
import threading
import time

import pytest

from entrojax.answers.process_pool import (
  NotReachedError,
  Pool,
  Worker,
  WorkerError,
)
from tests.helpers.pool_functions import add, misbehave, which


@pytest.fixture(scope="module")
def pool():
  """Return a pool of one process; every test must leave it usable."""
  with Pool(misbehave, seconds=30) as shared:
    yield shared
    assert shared.call("well") == "well"


@pytest.mark.parametrize("how", ["hang", "sleep"])
def test_a_call_that_hangs_ends_at_its_limit(how):
  with Pool(misbehave, seconds=0.8) as pool:
    pool.call("well")  # the start is not part of the limit
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer in 0\.8 seconds"):
      pool.call(how)
    assert 0.8 <= time.monotonic() - begin < 10
    assert pool.call("well") == "well"


@pytest.mark.parametrize("how", ["die", "crash", "exit"])
def test_a_process_that_dies_is_replaced(pool, how):
  with pytest.raises(WorkerError, match="the process died"):
    pool.call(how)
  assert pool.call("well") == "well"


@pytest.mark.parametrize(
  "how, what",
  [
    ("raise", "RuntimeError: no no"),
    ("recurse", "RecursionError"),
    ("unwritable", "TypeError"),
  ],
)
def test_what_a_call_raises_is_told_and_the_process_stays(pool, how, what):
  pool.call("well")
  with pytest.raises(WorkerError, match=what) as error:
    pool.call(how)
  assert len(str(error.value)) <= 200
  assert pool.call("well") == "well"


@pytest.mark.skipif(
  sys.platform != "linux", reason="address space can be limited on Linux only"
)
def test_a_process_cannot_take_all_memory(pool):
  with pytest.raises(WorkerError, match="MemoryError"):
    pool.call("allocate")  # twice what it may have, and untouched


def test_a_call_that_nobody_waits_for_ends_too():
  """Stands for a training process that was killed while it waited."""
  worker = Worker(misbehave.__code__.co_filename, "misbehave", ())
  try:
    worker._process.stdin.write('[["hang"], 0.1, 0.1]\n')
    worker._process.stdin.flush()
    assert worker._process.wait(timeout=30) != 0
  finally:
    worker.close()


def test_what_a_function_prints_is_no_answer(pool):
  assert pool.call("print") == "print"


@pytest.mark.parametrize("fork", [False, True])
def test_a_program_that_a_function_starts_reaches_no_pipe(fork):
  """Otherwise code that a model wrote could print its own reward."""
  with Pool(misbehave, seconds=30, fork=fork) as pool:
    assert pool.call("program") == "program"
    assert pool.call("well") == "well"  # and not the answer to another call
    assert pool.call("reader") == 0


@pytest.mark.parametrize(
  "value", ["\ud800", "a\nb", "½", "x" * 1_000_000, {"a": [1, None]}]
)
def test_any_value_that_json_can_write_comes_back(pool, value):
  assert pool.call(value) == value


def test_calls_share_processes_in_order():
  with Pool(add, size=2) as pool:
    assert pool.map([(1, 2), (3, 4), ("a", 1), (5, 6)])[:2] == [3, 7]
    failed = pool.map([("a", 1), (5, 6)])
    assert isinstance(failed[0], WorkerError) and failed[1] == 11


def test_a_process_answers_call_after_call_until_the_pool_closes():
  pool = Pool(which)
  first = pool.call(0)
  assert pool.call(0) == first
  pool.close()
  assert pool.call(0) != first
  pool.close()


def test_a_pool_that_nobody_has_any_more_ends_its_processes():
  pool = Pool(which)
  number = pool.call(0)
  os.kill(number, 0)  # it is there
  del pool
  gc.collect()
  with pytest.raises(ProcessLookupError):
    os.kill(number, 0)


def test_threads_wait_for_a_free_process():
  sums = []
  with Pool(add) as pool:
    threads = [
      threading.Thread(target=lambda i=i: sums.append(pool.call(i, i)))
      for i in range(8)
    ]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
  assert sorted(sums) == [0, 2, 4, 6, 8, 10, 12, 14]


@pytest.fixture(scope="module")
def forks():
  """Return a pool of two processes whose forks answer the calls."""
  with Pool(misbehave, size=2, seconds=1, fork=True) as shared:
    yield shared
    assert shared.call("well") == "well"


def test_a_fork_that_hangs_is_replaced_at_once(forks):
  begin = time.monotonic()
  how = ["hang", "well", "sleep", "raise"] * 10
  results = forks.map([(h,) for h in how], seconds=6)
  assert time.monotonic() - begin < 9.5  # at 1 s each it would be 10
  for name, result in zip(how, results, strict=True):
    if name == "well":
      assert result == "well"
    elif name == "raise":
      assert isinstance(result, WorkerError)
    else:
      assert isinstance(result, TimeoutError)


@pytest.mark.parametrize("how", ["die", "crash", "exit"])
def test_a_fork_that_dies_is_replaced(forks, how):
  with pytest.raises(WorkerError, match="the process died"):
    forks.call(how)
  assert forks.call("well") == "well"


def test_a_fork_keeps_the_limit_of_a_single_call():
  with Pool(misbehave, seconds=0.4, fork=True) as pool:
    with pytest.raises(TimeoutError, match=r"no answer in 0\.4 seconds"):
      pool.call("sleep")
    assert pool.call("well") == "well"


def test_a_batch_ends_at_its_own_limit():
  with Pool(misbehave, seconds=30) as pool:
    pool.call("well")
    results = pool.map([("well",), ("sleep",), ("well",)], seconds=1.0)
  assert results[0] == "well"
  assert all(isinstance(r, NotReachedError) for r in results[1:])
  assert "not reached within 1 s for all calls" in str(results[2])


def test_a_failing_start_is_told():
  with pytest.raises(WorkerError, match="RuntimeError: no no"):
    Pool(misbehave, warm_up=[("raise",)]).call("well")


def test_settings_that_cannot_work_are_named():
  with pytest.raises(
    ValueError, match=r"process_pool\.size must be at least 1"
  ):
    Pool(add, size=0)
  for seconds in (0.0, -1.0, float("nan"), float("inf")):
    with pytest.raises(
      ValueError, match=r"process_pool\.seconds must be above"
    ):
      Pool(add, seconds=seconds)
  with pytest.raises(ValueError, match=r"process_pool\.function must be at"):
    Pool(lambda a: a)
