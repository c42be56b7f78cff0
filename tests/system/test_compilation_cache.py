"""Where compiled graphs are kept. No test writes to the user's own folder.

That a run resumes bit for bit with a cache is shown by the tests of training:
all of them share one.
"""

import os
from pathlib import Path
import types

import pytest

from entrojax.system import compilation_cache


@pytest.fixture
def config(monkeypatch, tmp_path):
  """Stand in for JAX's config, and for the user's cache folder."""
  values = types.SimpleNamespace(
    jax_enable_compilation_cache=True, jax_compilation_cache_dir=None
  )
  values.update = lambda name, value: setattr(values, name, value)
  jax = types.SimpleNamespace(config=values)
  monkeypatch.setattr(compilation_cache, "jax", jax)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  return values


def test_graphs_are_kept_in_the_user_s_cache_folder(config, tmp_path):
  folder = compilation_cache.enable()
  assert folder is not None and folder.is_dir()
  assert folder.parent == tmp_path / "entrojax" / "jax"
  assert config.jax_compilation_cache_dir == str(folder)
  assert compilation_cache.enable() == folder


def test_without_the_variable_the_folder_is_in_the_home(
  config, monkeypatch, tmp_path
):
  monkeypatch.setenv("HOME", str(tmp_path / "me"))
  for value in ("", "relative"):  # the specification ignores a relative path
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert compilation_cache._user_cache() == tmp_path / "me" / ".cache"


def test_a_folder_that_the_user_has_set_stays(config, tmp_path):
  config.jax_compilation_cache_dir = "/elsewhere"
  assert compilation_cache.enable() == Path("/elsewhere")
  assert not any(tmp_path.iterdir())


def test_the_cache_can_be_turned_off(config, tmp_path):
  config.jax_enable_compilation_cache = False
  assert compilation_cache.enable() is None
  assert config.jax_compilation_cache_dir is None
  assert not any(tmp_path.iterdir())


def test_without_a_folder_that_can_be_written_there_is_no_cache(
  config, tmp_path
):
  (tmp_path / "entrojax").write_text("a file is in the way")
  assert compilation_cache.enable() is None
  assert config.jax_compilation_cache_dir is None


def test_other_cores_and_other_processors_have_folders_of_their_own(
  config, monkeypatch, tmp_path
):
  names = {compilation_cache._fingerprint()}
  monkeypatch.setattr(compilation_cache, "num_cores", lambda: 1024)
  names.add(compilation_cache._fingerprint())
  monkeypatch.setenv("NPROC", "7")
  names.add(compilation_cache._fingerprint())
  info = tmp_path / "cpuinfo"
  info.write_text("flags : mmx\ncpu MHz : 1.0\n")
  monkeypatch.setattr(compilation_cache, "_CPU_INFO", info)
  names.add(compilation_cache._fingerprint())
  assert len(names) == 4
  info.write_text("flags : mmx\ncpu MHz : 2.0\n")  # the speed does not matter
  assert compilation_cache._fingerprint() in names


def test_the_processes_of_these_tests_use_the_cache_of_the_tests():
  assert ".pytest_cache" in os.environ["JAX_COMPILATION_CACHE_DIR"]
