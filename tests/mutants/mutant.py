"""What a mutant is."""

from typing import NamedTuple


class Mutant(NamedTuple):
  """A wrong change to one file, and the test that must notice it."""

  name: str  # what is wrong, in plain words
  file: str  # path from the root of the repository
  old: str  # text that occurs exactly once in the file
  new: str  # text that takes its place
  test: str  # pytest's id of the test
