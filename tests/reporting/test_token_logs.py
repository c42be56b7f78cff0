"""Files of tokens: what is written is read, and a damaged file is named."""

import zipfile

import numpy as np
import pytest

from entrojax.reporting import token_logs
from entrojax.reporting.token_logs import (
  first_and_last,
  read_tokens,
  token_files,
  trim_tokens,
  write_tokens,
)
from tests.helpers.token_logs import HOSTILE, make_samples, noisy_samples


def test_what_is_written_is_read(tmp_path):
  samples = noisy_samples(np.random.default_rng(0), 0.5, members=("a", "b"))
  read = read_tokens(write_tokens(tmp_path, 0, samples))
  for name, value in samples._asdict().items():
    if isinstance(value, np.ndarray):
      expected = value.astype(getattr(read, name).dtype)
      np.testing.assert_array_equal(getattr(read, name), expected, name)
    elif name == "touched":
      for member, marks in value.items():
        np.testing.assert_array_equal(read.touched[member], marks)
    else:
      assert getattr(read, name) == value, name
  assert list(read.touched) == ["a", "b"]


def test_pieces_are_the_text_of_each_token():
  samples = make_samples([["1", "+", ""], [*HOSTILE]], entropy=np.ones(14))
  assert samples.pieces(0) == ["1", "+", ""]
  assert samples.pieces(1) == [*HOSTILE]


def test_evaluations_are_in_the_order_of_their_steps(tmp_path):
  for step in (10, 0, 9):
    for number, data in enumerate(("sums", "other")):
      samples = make_samples([["a"]], entropy=[1.0], step=step, data=data)
      write_tokens(tmp_path, number, samples)
  files = [
    (first.data, first.step, last.step)
    for first, last in first_and_last(tmp_path)
  ]
  assert files == [("sums", 0, 10), ("other", 0, 10)]


def test_a_resumed_run_removes_the_tokens_of_later_evaluations(tmp_path):
  for step in (0, 9, 10):
    samples = make_samples([["a"]], entropy=[1.0], step=step)
    write_tokens(tmp_path, 0, samples)
  trim_tokens(tmp_path, 9)
  assert [p.name for p in token_files(tmp_path)] == ["0.0.npz", "9.0.npz"]
  trim_tokens(tmp_path, -1)
  assert token_files(tmp_path) == []


def damaged(kind, path):
  """Damage a file of tokens in one way."""
  data = path.read_bytes()
  with np.load(path) as file:
    arrays = dict(file)
  if kind == "cut":
    path.write_bytes(data[: len(data) // 2])
  elif kind == "no zip":
    path.write_bytes(b"[1, 2]")
  elif kind == "short array":
    np.savez(path, **{**arrays, "entropy": arrays["entropy"][:-1]})
  elif kind == "object array":
    np.savez(path, **{**arrays, "ids": np.array([{}, "a"], object)})
  elif kind == "missing array":
    del arrays["top"]
    np.savez(path, **arrays)
  elif kind == "no JSON":
    np.savez(path, **{**arrays, "text": np.frombuffer(b"{", np.uint8)})
  elif kind == "lengths":
    np.savez(path, **{**arrays, "lengths": arrays["lengths"] + 1})
  elif kind == "bad block":
    # 30 bytes and the name stand before the first array's compressed bytes
    with zipfile.ZipFile(path) as file:
      first = file.infolist()[0]
    extra = int.from_bytes(data[28:30], "little")
    at = first.header_offset + 30 + len(first.filename) + extra
    path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])


@pytest.mark.parametrize(
  "kind",
  [
    *("cut", "no zip", "short array", "object array", "missing array"),
    *("no JSON", "lengths", "bad block"),
  ],
)
def test_a_damaged_file_is_named(kind, tmp_path):
  samples = make_samples([["a", "b"]], entropy=[1.0, 2.0])
  path = write_tokens(tmp_path, 0, samples)
  damaged(kind, path)
  with pytest.raises(ValueError, match=r"tokens/0\.0\.npz does not hold"):
    read_tokens(path)


def test_a_file_never_runs_code(tmp_path):
  class Bomb:
    def __reduce__(self):
      return (print, ("boom",))

  path = tmp_path / "0.0.npz"
  np.savez(path, allow_pickle=True, ids=np.array([Bomb()], object))
  with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
    token_logs.read_tokens(path)
