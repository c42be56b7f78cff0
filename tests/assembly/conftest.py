"""Fixtures for the tests of how a run is put together."""

from pathlib import Path

import pytest

from tests.helpers.own_code import write_code


@pytest.fixture
def own_code(tmp_path, monkeypatch) -> Path:
  """Work in a folder that has two files of code and the problems."""
  monkeypatch.chdir(tmp_path)
  write_code(tmp_path)
  return tmp_path
