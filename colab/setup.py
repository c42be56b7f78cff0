"""Prepare a notebook: install what is missing, and print the devices.

The first cell of each notebook runs this file in the folder of the repository.
A package is installed at the version of requirements.txt only if the installed
one does not meet pyproject.toml. So Colab keeps its own JAX, which fits its
accelerator, where it is new enough. What tests need is never installed. Python
3.11 or newer is required.
"""

from collections.abc import Mapping
import importlib
import importlib.metadata
from pathlib import Path
import re
import subprocess
import sys
import tomllib

_TESTS = "# tests and lint"  # the part of requirements.txt that is left out
# CUDA 13 needs newer drivers and chips than CUDA 12, which also runs on a P100.
# Newer drivers run both.
_EXTRAS = {"tpu": "jax[tpu]", "gpu": "jax[cuda12]"}


def pins(requirements: str) -> dict[str, str]:
  """Return the pinned version of each run-time package, by its name."""
  lines = requirements.partition(_TESTS)[0].splitlines()
  matches = (re.match(r"([\w-]+)==([\w.]+)", line) for line in lines)
  return {match[1]: match[2] for match in matches if match}


def least_versions(project: str) -> dict[str, str]:
  """Return the least version of each dependency in a pyproject.toml."""
  dependencies = tomllib.loads(project)["project"]["dependencies"]
  matches = (re.match(r"([\w-]+)>=([\w.]+)", text) for text in dependencies)
  return {match[1]: match[2] for match in matches if match}


def missing(
  pinned: Mapping[str, str],
  least: Mapping[str, str],
  installed: Mapping[str, str],
  accelerator: str | None,
) -> list[str]:
  """Return what pip should install.

  Args:
    pinned: the versions to install, by package.
    least: the least versions that suffice; a package that is not among them,
      such as jaxlib, comes with another one.
    installed: the installed versions, by the packages' plain names.
    accelerator: "tpu", "gpu" or None; JAX is installed for it.
  """
  wanted = []
  for name, version in pinned.items():
    own, needed = installed.get(_plain(name)), least.get(name)
    if own and (needed is None or _numbers(own) >= _numbers(needed)):
      continue
    if name == "jaxlib":
      continue  # jax brings the one that fits
    shown = _EXTRAS.get(accelerator or "", name) if name == "jax" else name
    wanted.append(f"{shown}=={version}")
  return wanted


def _numbers(version: str) -> tuple[int, ...]:
  """Return the numbers that a version begins with: 0.10.2rc1 gives 0, 10, 2."""
  match = re.match(r"\d+(?:\.\d+)*", version)
  return tuple(map(int, match[0].split("."))) if match else ()


def _installed() -> dict[str, str]:
  """Return the installed version of each package, by its plain name."""
  found = importlib.metadata.distributions()
  return {_plain(d.metadata["Name"] or ""): d.version for d in found}


def _plain(name: str) -> str:
  """Return the one spelling of a package's name: Ml_Collections is one."""
  return re.sub(r"[-_.]+", "-", name).lower()


def _accelerator() -> str | None:
  """Return "tpu" or "gpu" if this machine has one, without importing JAX."""
  if Path("/dev/accel0").exists() or Path("/dev/vfio/0").exists():
    return "tpu"
  return "gpu" if Path("/dev/nvidia0").exists() else None


def _install(*packages: str) -> None:
  """Install packages with pip."""
  print("installing", *packages, flush=True)
  pip = (sys.executable, "-m", "pip", "install", "--quiet", *packages)
  subprocess.run(pip, check=True)
  importlib.invalidate_caches()  # so that this process can import them


def add_tpu_compiler() -> None:
  """Install libtpu, the compiler for TPUs, if it is missing.

  Raises:
    subprocess.CalledProcessError: pip failed; its message is above.
  """
  if "libtpu" in _installed():
    return
  import jax

  _install(f"jax[tpu]=={jax.__version__}")


def prepare(root: Path) -> None:
  """Install what is missing, and print the versions and the devices.

  Raises:
    RuntimeError: JAX was replaced after this kernel had imported it, so that
      the kernel must be restarted.
    subprocess.CalledProcessError: pip failed; its message is above.
  """
  wanted = missing(
    pins((root / "requirements.txt").read_text(encoding="utf-8")),
    least_versions((root / "pyproject.toml").read_text(encoding="utf-8")),
    _installed(),
    _accelerator(),
  )
  if wanted:
    _install(*wanted)
    if "jax" in sys.modules and any(text.startswith("jax") for text in wanted):
      raise RuntimeError("JAX is new: restart the kernel, and run all cells")
  import jax  # only now is it sure to be there

  devices = jax.devices()
  python = ".".join(map(str, sys.version_info[:3]))
  print(f"Python {python}, JAX {jax.__version__}")
  print(f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})")
