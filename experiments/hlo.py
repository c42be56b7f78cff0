"""Reads compiled programs: collectives, cycles and arrays, loops counted."""

from collections import Counter
from collections.abc import Iterator, Mapping
import dataclasses
import math
import re
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal
import numpy as np

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
_BYTES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
_ARRAY = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")
_OP = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = (\(.*?\)|\S+) ([\w-]+)\(")
_COLLECTIVES = (
  "all-gather",
  "all-reduce",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
  "send",  # between slices
)
_NUM_DEAREST = 8
_WRAPPERS = (
  *("while", "body", "closed_call"),
  *("checkpoint", "rematted_computation"),
)


@dataclasses.dataclass(frozen=True)
class Program:
  """What one device does in a call; loops whose length is unknown count once.

  Attributes:
    collectives: bytes that come out of collectives, by their kind; 'send' goes
      to another slice.
    cycles: the compiler's estimate, 0 where it makes none.
    dearest: the same of the operations that take most, by their names.
    largest: dtype and shape of the largest array, and its bytes.
    num_kernels: calls of kernels that were written by hand, of which the
      compiler estimates nothing.
  """

  collectives: Mapping[str, int]
  cycles: int
  dearest: Mapping[str, int]
  largest: tuple[str, int]
  num_kernels: int


def read(text: str) -> Program:
  """Reads the text of a compiled program (jax's compiled.as_text())."""
  bodies, entry = _computations(text)
  collectives: Counter[str] = Counter()
  cycles: Counter[str] = Counter()
  num_kernels = 0
  for name, times in _multiplicities(bodies, entry).items():
    for line in bodies[name]:
      found = re.search(r'"estimated_cycles":"(\d+)"', line)
      if found:
        cycles[_source(line)] += times * int(found[1])
      num_kernels += times * ('custom_call_target="tpu_custom_call"' in line)
      op = _OP.match(line)
      kind = op[2].removesuffix("-start") if op else ""
      if op and kind in _COLLECTIVES:
        # a started collective carries its operands along: the last is new
        arrays = _ARRAY.findall(op[1])
        arrays = arrays[-1:] if op[2].endswith("-start") else arrays
        arrays = arrays[:1] if kind == "send" else arrays
        collectives[kind] += times * sum(_size(*a) for a in arrays)
  return Program(
    dict(collectives),
    sum(cycles.values()),
    dict(cycles.most_common(_NUM_DEAREST)),
    _largest(text),
    num_kernels,
  )


def _source(line: str) -> str:
  """Returns what an operation was in the program that was traced."""
  found = re.search(r'op_name="([^"]*)"', line)
  parts = found[1].split("/") if found else ["made by the compiler"]
  own = [p for p in parts if p not in _WRAPPERS and not p.startswith("jit(")]
  return "/".join(own[-3:])


class Flops(NamedTuple):
  """Of matrix products."""

  total: int
  kernels: int  # of these, in kernels that were written by hand


def flops(jaxpr: Any, known: Mapping[Any, Any] | None = None) -> Flops:
  """Returns the FLOPs of all matrix products of a traced function.

  A loop counts as often as it runs, where that is known, else once; what runs
  on every device of a mesh counts on each; a kernel on each block that it does
  not skip.

  Args:
    jaxpr: of the function.
    known: values of some of its variables, from which kernels tell what they
      skip.
  """
  values = dict(known or {})
  values |= zip(jaxpr.constvars, getattr(jaxpr, "consts", ()), strict=False)
  total = kernels = 0
  for equation in jaxpr.eqns:
    if equation.primitive.name == "dot_general":
      total += _product_flops(equation)
    inner = [flops(*of) for of in _inner(equation, values)]
    if equation.primitive.name == "cond":
      inner = [max(inner)]
    times = _times(equation, values)
    total += round(times * sum(f.total for f in inner))
    is_kernel = equation.primitive.name == "pallas_call"
    kernels += round(times * sum(f[0 if is_kernel else 1] for f in inner))
  return Flops(total, kernels)


def _times(equation: Any, values: Mapping[Any, Any]) -> float:
  """Returns how often an equation runs what is inside it."""
  if equation.primitive.name == "shard_map":
    return equation.params["mesh"].size
  if equation.primitive.name != "pallas_call":
    return equation.params.get("length", 1)
  blocks = math.prod(equation.params["grid_mapping"].grid)
  if not equation.params["name"].startswith("splash"):
    return blocks
  # its second operand says of each block of scores whether any is to be made
  marks = _value(equation.invars[1], values)
  return blocks * (1 if marks is None else np.mean(np.asarray(marks) != 0))


def _inner(
  equation: Any, values: Mapping[Any, Any]
) -> Iterator[tuple[Any, Mapping[Any, Any]]]:
  """Yields the functions inside an equation, and what they know."""
  name = equation.primitive.name
  arguments = [_value(x, values) for x in equation.invars]
  if name == "scan":  # what follows changes from turn to turn
    arguments[equation.params["num_consts"] :] = []
  if name == "while":
    arguments = []
  if name == "cond":
    arguments = arguments[1:]
  for value in jax.tree.leaves(list(equation.params.values())):
    if hasattr(value, "eqns"):
      known = dict(zip(value.invars, arguments, strict=False))
      yield value, {k: v for k, v in known.items() if v is not None}


def _value(x: Any, values: Mapping[Any, Any]) -> Any:
  """Returns the value of what an equation reads, None where it is not known."""
  return x.val if isinstance(x, Literal) else values.get(x)


def _product_flops(equation: Any) -> int:
  (contracted, _), _ = equation.params["dimension_numbers"]
  left = equation.invars[0].aval.shape
  depth = math.prod(left[axis] for axis in contracted)
  return 2 * depth * math.prod(equation.outvars[0].aval.shape)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
  """Returns the lines of each computation, and the name of the first run."""
  bodies: dict[str, list[str]] = {}
  entry, name = "", ""
  for line in text.splitlines():
    head = re.match(r"^(ENTRY )?%?([\w.-]+) .*\{$", line)
    if head and not line.startswith(" "):
      name = head[2]
      bodies[name] = []
      entry = name if head[1] else entry
    elif name:
      bodies[name].append(line)
  return bodies, entry


def _multiplicities(
  bodies: Mapping[str, list[str]], entry: str
) -> Mapping[str, int]:
  """Returns how often each computation runs."""
  times: Counter[str] = Counter()

  def visit(name: str, count: int) -> None:
    times[name] += count
    for line in bodies[name]:
      if " fusion(" in line:
        continue  # its own line says all of it
      for called in _called(line):
        if called in bodies:
          visit(called, count * _turns(line, bodies))

  visit(entry, 1)
  return times


def _called(line: str) -> list[str]:
  """Returns the computations that an operation runs."""
  names = re.findall(r"(?:body|calls|to_apply)=%?([\w.-]+)", line)
  for branches in re.findall(r"branch_computations=\{(.*?)\}", line):
    names += re.findall(r"%?([\w.-]+)", branches)
  return names


def _turns(line: str, bodies: Mapping[str, list[str]]) -> int:
  """Returns how often a loop turns; 1 where it is not known, and for others.

  A loop that counts from 0 compares its counter with one constant.
  """
  known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
  if known:
    return int(known[1])
  condition = re.search(r" while\(.*condition=%?([\w.-]+)", line)
  if not condition or condition[1] not in bodies:
    return 1
  test = "\n".join(bodies[condition[1]])
  bounds = re.findall(r"constant\((\d+)\)", test)
  counts = test.count("direction=") == test.count("direction=LT") == 1
  return int(bounds[0]) if counts and len(bounds) == 1 else 1


def _size(dtype: str, shape: str) -> int:
  return _BYTES.get(dtype, 4) * math.prod(int(n) for n in shape.split(",") if n)


def _largest(text: str) -> tuple[str, int]:
  dtype, shape = max(set(_ARRAY.findall(text)), key=lambda a: _size(*a))
  return f"{dtype}[{shape}]", _size(dtype, shape)
