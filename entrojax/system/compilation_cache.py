"""Keep compiled graphs in the user's cache folder, for the next start.

Compiling takes most of the first minute of a run. JAX can keep compiled graphs
on disk, but has no folder for them by default. `enable` gives it

    $XDG_CACHE_HOME/entrojax/jax/FINGERPRINT, or ~/.cache/entrojax/jax/...

unless a folder is set already. Two settings of JAX, as environment variables or
by jax.config.update, change this:

    JAX_COMPILATION_CACHE_DIR=FOLDER     keep them there
    JAX_ENABLE_COMPILATION_CACHE=false   keep nothing

XLA:CPU compiles for the features of the processor and splits sums by the number
of cores, but neither is in JAX's key of a graph. The fingerprint stands for
both. A graph from the cache is therefore the graph that would be compiled here,
so a run that resumes with it continues bit for bit. The folder may be deleted
at any time.
"""

import hashlib
import os
from pathlib import Path
import platform
from typing import Any

import jax

from entrojax.system.provenance import num_cores

_CPU_INFO = Path("/proc/cpuinfo")
_FEATURES = ("flags", "Features", "model name")  # on x86, on Arm, on both


def enable() -> Path | None:
  """Let JAX keep compiled graphs on disk, if the user has not said otherwise.

  Returns:
    The folder that JAX uses; None if there is no cache, because it is turned
    off or the folder cannot be written.
  """
  settings: Any = jax.config  # its attributes are made at run time
  if not settings.jax_enable_compilation_cache:
    return None
  if settings.jax_compilation_cache_dir:
    return Path(settings.jax_compilation_cache_dir)
  folder = _user_cache() / "entrojax" / "jax" / _fingerprint()
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError:
    return None
  if not os.access(folder, os.W_OK):
    return None
  jax.config.update("jax_compilation_cache_dir", str(folder))
  # the many small graphs of a start take seconds together
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
  return folder


def _user_cache() -> Path:
  """Return the user's folder of caches (XDG base directory specification)."""
  given = os.environ.get("XDG_CACHE_HOME", "")
  return Path(given) if Path(given).is_absolute() else Path.home() / ".cache"


def _fingerprint() -> str:
  """Return a name for what XLA:CPU compiles for: the processor and its cores.

  NPROC is the variable with which XLA's number of threads can be set.
  """
  lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.is_file() else []
  features = sorted({line for line in lines if line.startswith(_FEATURES)})
  machine = (
    platform.machine(),
    platform.processor(),
    *features,
    str(num_cores()),
    os.environ.get("NPROC", ""),
  )
  return hashlib.sha256("\n".join(machine).encode()).hexdigest()[:12]
