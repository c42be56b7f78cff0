"""What test_verify_pool.py asks processes to do; imports nothing of ours."""

import os
import sys
import time

MEMORY = 4 << 30  # bytes: as in process_pool.py


def add(a, b):
  return a + b


def which(_):
  """Returns the number of the process that answers."""
  return os.getpid()


def misbehave(how):
  """Does what a verifier may do at worst."""
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
  if how == "unwritable":
    return {1, 2}
  return how
