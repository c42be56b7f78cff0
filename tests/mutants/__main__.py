"""Prove that the tests notice small wrong changes to the science.

    python -m tests.mutants           # every mutant: 7 minutes on one core
    python -m tests.mutants entropic  # the mutants with this text in their name

A mutant is one wrong change: a flipped sign, a mean over padding, a wrong
denominator. It names the test that must fail because of it. The changes are
made in a copy of the repository, one at a time, and each named test runs in a
process of its own. The command prints one line per mutant,

    caught    an assertion of the test failed
    SURVIVED  the test passed, so nothing would notice the change
    broken    the change does not apply, or the test failed for another reason

and exits with status 1 unless every mutant is caught. To add a mutant, add a
row to losses.py, signals.py or engine.py; tests/test_mutants.py checks that
rows fit the code.
"""

from collections.abc import Sequence
import compileall
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple
from xml.etree import ElementTree

from tests.helpers.paths import ROOT
from tests.mutants import engine, losses, signals
from tests.mutants.mutant import Mutant

COPIED = ("configs", "entrojax", "experiments", "tests", "pyproject.toml")
TIMEOUT = 600  # seconds of one test; a mutant may loop forever
TAIL = 3000  # characters of pytest's output that are printed on an error
# how the message of a failed assertion begins
ASSERTIONS = ("AssertionError", "assert ")


class Result(NamedTuple):
  """What pytest did."""

  status: int  # 0 = all tests passed, 1 = some failed, others = no such test...
  only_assertions: bool  # whether every failure is a failed assertion
  output: str


MUTANTS = (*losses.MUTANTS, *signals.MUTANTS, *engine.MUTANTS)


def mutated_source(root: Path, mutant: Mutant) -> str:
  """Return the source of a mutant's file below `root`, with the change made.

  Raises:
    ValueError: the old text does not occur exactly once in the file.
  """
  source = (root / mutant.file).read_text(encoding="utf-8")
  count = source.count(mutant.old)
  if count != 1:
    raise ValueError(
      f"{mutant.name}: {mutant.file} must hold this text once, it holds it "
      f"{count} times: {mutant.old}"
    )
  return source.replace(mutant.old, mutant.new)


def copy_repository(root: Path) -> None:
  """Copy what the tests need to the folder `root`, and compile the modules."""
  for name in COPIED:
    if (ROOT / name).is_dir():
      ignored = shutil.ignore_patterns("__pycache__")
      shutil.copytree(ROOT / name, root / name, ignore=ignored)
    else:
      shutil.copy2(ROOT / name, root / name)
  compileall.compile_dir(str(root), quiet=2)


def run_tests(root: Path, tests: Sequence[str]) -> Result:
  """Run tests of the copy in a process, until the first failure.

  Compiled JAX graphs are shared with the repository's own tests. The failures
  are not: without lfplugin, `pytest --last-failed` does not see them. Python
  writes no bytecode, so that none of a mutant's is left behind.
  """
  report = root / "report.xml"
  report.unlink(missing_ok=True)
  cache = ROOT / ".pytest_cache"
  process = subprocess.run(
    (
      *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:lfplugin"),
      *("-o", f"cache_dir={cache}", f"--junitxml={report}", *tests),
    ),
    cwd=root,
    env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    timeout=TIMEOUT * len(tests),
    check=False,
  )
  failures = failure_messages(report)
  return Result(
    process.returncode,
    bool(failures) and all(m.startswith(ASSERTIONS) for m in failures),
    process.stdout,
  )


def failure_messages(report: Path) -> list[str]:
  """Read the first lines of all failures and errors from pytest's report."""
  if not report.exists():
    return []
  tree = ElementTree.parse(report)
  return [
    # an error is a failure outside of the test itself, as in a fixture
    element.get("message", "") if element.tag == "failure" else "error"
    for element in tree.iter()
    if element.tag in ("failure", "error")
  ]


def try_mutant(root: Path, mutant: Mutant) -> tuple[str, str]:
  """Apply a mutant to the copy, run its test, and restore the copy.

  Returns:
    The verdict ('caught', 'SURVIVED' or 'broken') and, if it is 'broken', the
    reason.
  """
  path = root / mutant.file
  try:
    path.write_text(mutated_source(ROOT, mutant), encoding="utf-8")
    result = run_tests(root, [mutant.test])
  except (ValueError, subprocess.TimeoutExpired) as error:
    return "broken", str(error)
  finally:
    shutil.copy2(ROOT / mutant.file, path)
  if result.status == 0:
    return "SURVIVED", ""
  if result.status == 1 and result.only_assertions:
    return "caught", ""
  return "broken", result.output[-TAIL:]


def select(texts: Sequence[str]) -> list[Mutant]:
  """Return the mutants whose names hold one of the texts; all without a text.

  Raises:
    ValueError: no name holds one of the texts.
  """
  for text in texts:
    if not any(text in mutant.name for mutant in MUTANTS):
      raise ValueError(f"no mutant has {text!r} in its name")
  return [
    mutant
    for mutant in MUTANTS
    if not texts or any(text in mutant.name for text in texts)
  ]


def main(argv: Sequence[str]) -> int:
  """Try the selected mutants and print their verdicts; return the status."""
  mutants = select(argv)
  with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    copy_repository(root)
    result = run_tests(root, sorted({mutant.test for mutant in mutants}))
    if result.status != 0:
      print(result.output[-TAIL:])
      print("the tests must pass before a mutant is tried")
      return 1
    num_caught = 0
    for mutant in mutants:
      started = time.perf_counter()
      verdict, reason = try_mutant(root, mutant)
      seconds = time.perf_counter() - started
      print(f"{verdict:9} {mutant.name} ({seconds:.0f} s)", flush=True)
      if reason:
        print(reason)
      num_caught += verdict == "caught"
  print(f"{num_caught} of {len(mutants)} mutants are caught")
  return int(num_caught < len(mutants))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
