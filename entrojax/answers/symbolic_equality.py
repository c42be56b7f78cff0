r"""Equality of answers by the package math-verify, which is optional.

`same` parses two answers as LaTeX and asks whether they are one expression. It
runs in processes of their own (process_pool.py), which import this file by
itself: it may import nothing of entrojax. sympy, on which the package stands,
hangs on some inputs and needs any amount of memory for others; the package's
own time limits are made of signals, and off here.

Deviation: an answer is read as LaTeX only, after it was taken out of the
response. The package's plain expressions would find a number in any text, so
that "7 or 8" is 8, and go through Python's eval. Dollar signs and the like go
first: of two formulas in one box, such as \(7\) \(8\), it would take the last.
"""

import functools
import logging
import re


@functools.cache
def _package():
  """Imports the package, silently; returns parse and verify."""
  logging.disable(logging.CRITICAL)
  from math_verify import LatexExtractionConfig, parse, verify

  latex = LatexExtractionConfig(boxed_match_priority=0)
  return (
    functools.partial(
      parse,
      extraction_config=[latex],
      fallback_mode="no_fallback",
      parsing_timeout=None,
      raise_on_error=True,
    ),
    functools.partial(verify, timeout_seconds=None, raise_on_error=True),
  )


def same(answer: str, gold: str) -> bool:
  """Says whether two answers in LaTeX, without their boxes, are equal.

  May raise or hang: to be called in a pool's process.
  """
  parse, verify = _package()
  texts = [
    re.sub(r"(?<!\\)\\[()\[\]]|\\?\$", " ", text) for text in (gold, answer)
  ]
  read = [parse(rf"\boxed{{{text}}}") for text in texts]
  return bool(all(read) and verify(*read))
