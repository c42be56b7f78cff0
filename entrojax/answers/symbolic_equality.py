r"""Decide by the optional package math-verify whether two answers are equal.

`same` parses an answer and a gold answer as LaTeX and asks the package whether
they are mathematically equal. Call it in a process of process_pool.py, because
sympy, which math-verify uses, hangs on some inputs and needs unlimited memory
for others. The package's own time limits rely on signals and are turned off.
Such a process imports this file alone, so the file must not import anything
from entrojax.

The package's verdict is not final: values that it calls equal must also agree
to twelve digits, or to the last digit of a rounded gold answer.

Deviation: answers are read only as LaTeX, after they were extracted from the
response. By default the package also reads plain expressions, but then it finds
a number in any text, so that "7 or 8" equals 8, and it calls Python's eval.
Dollar signs and similar delimiters are removed. Otherwise, if one box holds two
formulas, such as \(7\) \(8\), the package would read only the last one.
"""

import functools
import logging
import re
from typing import Any

_DELIMITERS = r"(?<!\\)\\[()\[\]]|\\?\$"

# comparisons of several kinds, (answer, gold): they fill sympy's caches
EXAMPLES = (
  ("1", "1"),
  (r"\frac{1}{2}", "0.5"),
  (r"\sqrt{12}", r"2\sqrt{3}"),
  ("x^2+2x+1", "(x+1)^2"),
  (r"\frac{\pi}{2}-1", r"\frac{\pi-2}{2}"),
  (r"\sin^2 x", r"1-\cos^2 x"),
  ("(1,3)", "(1,2)"),
  (r"\{2,1\}", "1,2"),
  ("x=5", "5"),
  (r"(-\infty,2)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,2)"),
  (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}"),
  ("2+3i", "3i+2"),
)


@functools.cache
def _package():
  """Import the package without its log messages; return parse and verify."""
  logging.disable(logging.CRITICAL)
  from math_verify import LatexExtractionConfig, parse, verify

  latex = LatexExtractionConfig(boxed_match_priority=0)
  read = functools.partial(
    parse,
    extraction_config=[latex],
    fallback_mode="no_fallback",
    parsing_timeout=None,
    raise_on_error=True,
  )
  return (
    functools.lru_cache(maxsize=1024)(read),  # a group shares its gold answer
    functools.partial(verify, timeout_seconds=None, raise_on_error=True),
  )


def same(answer: str, gold: str, tolerance: float = 0.0) -> bool:
  """Return whether two answers in LaTeX, without their boxes, are equal.

  This may raise or hang, so call it in a process of a Pool.

  Args:
    answer: the answer.
    gold: the gold answer.
    tolerance: how much a value may differ from the gold's; 0 if that is exact.
  """
  parse, verify = _package()
  expressions = [
    parse(rf"\boxed{{{re.sub(_DELIMITERS, ' ', text)}}}")
    for text in (gold, answer)
  ]
  if not (all(expressions) and verify(*expressions)):
    return False
  return _near(expressions[0][0], expressions[1][0], tolerance)


def _near(gold: Any, answer: Any, tolerance: float) -> bool:
  """Return whether equal expressions have equal values, to twelve digits.

  The package compares floating-point numbers to six digits after the point, so
  10^{-9} pi equals 2 * 10^{-9} pi. Expressions that are no numbers pass.
  """
  import sympy

  pairs = [
    expression.rhs if isinstance(expression, sympy.Eq) else expression
    for expression in (gold, answer)
  ]
  elements = [_elements(pair) for pair in pairs]
  if all(elements) and len(elements[0]) == len(elements[1]):
    return all(_near(a, b, tolerance) for a, b in zip(*elements, strict=True))
  if not all(
    isinstance(pair, sympy.Expr)
    and pair.is_number
    and not pair.has(sympy.UnevaluatedExpr)  # percent signs
    for pair in pairs
  ):
    return True
  target, value = (sympy.N(pair, 30) for pair in pairs)
  allowed = max(sympy.Float(tolerance), abs(target) * sympy.Float("1e-12"))
  return bool(abs(value - target) <= allowed)


def _elements(expression: Any) -> list:
  """Return the elements of a tuple, or of a set in the order of their values.

  Returns [] for other expressions, and for sets that have no such order.
  """
  import sympy

  if isinstance(expression, sympy.Tuple):
    return list(expression.args)
  if not isinstance(expression, sympy.FiniteSet):
    return []
  if not all(getattr(e, "is_extended_real", False) for e in expression.args):
    return []
  return sorted(expression.args, key=lambda e: float(sympy.N(e)))
