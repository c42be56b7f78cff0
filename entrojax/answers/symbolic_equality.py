r"""Decide by the optional package math-verify whether two answers are equal.

`same` parses an answer and a gold answer as LaTeX and asks the package whether
they are mathematically equal. Call it in a process of process_pool.py, because
sympy, which math-verify uses, hangs on some inputs and needs unlimited memory
for others. The package's own time limits rely on signals and are turned off.
Such a process imports this file alone, so the file must not import anything
from entrojax.

Deviation: answers are read only as LaTeX, after they were extracted from the
response. By default the package also reads plain expressions, but then it finds
a number in any text, so that "7 or 8" equals 8, and it calls Python's eval.
Dollar signs and similar delimiters are removed. Otherwise, if one box holds two
formulas, such as \(7\) \(8\), the package would read only the last one.
"""

import functools
import logging
import re


@functools.cache
def _package():
  """Import the package without its log messages; return parse and verify."""
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
  """Return whether two answers in LaTeX, without their boxes, are equal.

  This may raise or hang, so call it in a process of a Pool.
  """
  parse, verify = _package()
  texts = [
    re.sub(r"(?<!\\)\\[()\[\]]|\\?\$", " ", text) for text in (gold, answer)
  ]
  expressions = [parse(rf"\boxed{{{text}}}") for text in texts]
  return bool(all(expressions) and verify(*expressions))
