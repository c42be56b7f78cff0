"""Evaluate arithmetic exactly, independently of the package's own parser."""

import ast
from fractions import Fraction


def evaluate(text: str) -> Fraction | None:
  """Evaluate an arithmetic expression with Python's grammar, without eval."""
  try:
    return _node(ast.parse(text, mode="eval").body)
  except (SyntaxError, ValueError, ZeroDivisionError, MemoryError):
    return None


def _node(node: ast.AST) -> Fraction:
  """Evaluate a node of + - * / and integers."""
  if isinstance(node, ast.Constant) and type(node.value) is int:
    return Fraction(node.value)
  if not isinstance(node, ast.BinOp):
    raise ValueError(node)
  x, y = _node(node.left), _node(node.right)
  if isinstance(node.op, ast.Add):
    return x + y
  if isinstance(node.op, ast.Sub):
    return x - y
  if isinstance(node.op, ast.Mult):
    return x * y
  if isinstance(node.op, ast.Div):
    return x / y
  raise ValueError(node.op)
