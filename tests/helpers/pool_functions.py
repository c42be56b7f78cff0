"""Functions that tests/answers/test_process_pool.py runs in other processes.

This file imports nothing from entrojax, so that those processes start quickly.
"""

import os
import subprocess
import sys
import time

MEMORY = 4 << 30  # bytes, the limit in pool_process.py


def add(a, b):
  return a + b


def which(_):
  """Return the id of the process that runs this function."""
  return os.getpid()


def misbehave(how):
  """Misbehave in one of the ways in which a bad verifier might."""
  if how == "hang":
    while True:
      pass
  if how == "sleep":
    time.sleep(3600)
  if how == "die":
    os._exit(3)
  if how == "crash":
    os.abort()
  if how == "recurse":
    return misbehave(how)
  if how == "raise":
    raise RuntimeError("no " * 1_000)
  if how == "exit":
    sys.exit()
  if how == "allocate":
    return len(bytearray(2 * MEMORY))
  if how == "print":
    print("noise")
    sys.stdout.flush()
  if how == "program":  # its output has the form of an answer
    subprocess.run([sys.executable, "-c", 'print(\'{"value": "forged"}\')'])
  if how == "reader":
    return len(subprocess.run(["cat"], capture_output=True).stdout)
  if how == "unwritable":
    return {1, 2}
  return how
