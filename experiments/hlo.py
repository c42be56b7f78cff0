"""Read compiled programs: collectives, cycles, arrays and FLOPs.

`read` takes the text of a compiled program (HLO) and sums its collectives and
the compiler's estimate of cycles; it also finds the largest array. `flops`
takes a traced function (a jaxpr) and counts the FLOPs of its matrix products.
Both count the body of a loop as often as the loop runs it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import math
import re
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal
from jax.interpreters import partial_eval
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
  """The work of one device in one call of a compiled program.

  A loop whose length is unknown counts once, and so does each branch of a
  condition unless its share of the calls is given.

  Attributes:
    collectives: kind of collective -> bytes of its results; 'send' goes to
      another slice.
    cycles: the compiler's estimate, 0 if it makes none.
    dearest: operation -> cycles, for the operations with the most cycles.
    largest: dtype and shape of the largest array, and its bytes.
    num_kernels: number of calls of hand-written kernels, for which the compiler
      makes no estimate.
  """

  collectives: Mapping[str, int]
  cycles: int
  dearest: Mapping[str, int]
  largest: tuple[str, int]
  num_kernels: int


def read(text: str, shares: Sequence[float] = ()) -> Program:
  """Read the text of a compiled program, jax's compiled.as_text().

  Args:
    text: the program.
    shares: for every condition with this many branches, the share of the calls
      in which each branch runs.
  """
  bodies, entry = _computations(text)
  collectives: dict[str, float] = defaultdict(float)
  cycles: dict[str, float] = defaultdict(float)
  num_kernels = 0.0
  for name, times in _multiplicities(bodies, entry, shares).items():
    for line in bodies[name]:
      estimate = re.search(r'"estimated_cycles":"(\d+)"', line)
      if estimate:
        cycles[_source(line)] += times * int(estimate[1])
      num_kernels += times * ('custom_call_target="tpu_custom_call"' in line)
      op = _OP.match(line)
      kind = op[2].removesuffix("-start") if op else ""
      if op and kind in _COLLECTIVES:
        # the result of a -start operation lists its operands; the last array
        # is the new one
        arrays = _ARRAY.findall(op[1])
        arrays = arrays[-1:] if op[2].endswith("-start") else arrays
        arrays = arrays[:1] if kind == "send" else arrays
        collectives[kind] += times * sum(_size(*a) for a in arrays)
  dearest = sorted(cycles, key=lambda name: cycles[name], reverse=True)
  return Program(
    {kind: round(n) for kind, n in collectives.items()},
    round(sum(cycles.values())),
    {name: round(cycles[name]) for name in dearest[:_NUM_DEAREST]},
    _largest(text),
    round(num_kernels),
  )


def _source(line: str) -> str:
  """Return the name that an operation had in the traced program."""
  name = re.search(r'op_name="([^"]*)"', line)
  parts = name[1].split("/") if name else ["made by the compiler"]
  own = [p for p in parts if p not in _WRAPPERS and not p.startswith("jit(")]
  return "/".join(own[-3:])


class Flops(NamedTuple):
  """Floating-point operations of matrix products."""

  total: int
  kernels: int  # the part of the total that is in hand-written kernels


def flops(
  jaxpr: Any,
  constants: Mapping[Any, Any] | None = None,
  shares: Sequence[float] = (),
) -> Flops:
  """Count the FLOPs of all matrix products of a traced function.

  The body of a loop counts as often as it runs, or once if that is not known.
  A function that runs on every device of a mesh counts on each device. A kernel
  counts on each block that it does not skip.

  Args:
    jaxpr: the traced function.
    constants: variable of the function -> value, as far as it is known. They
      decide which blocks kernels skip.
    shares: for every condition with this many branches, the share of the calls
      in which each branch runs. The dearest branch of any other condition
      counts, and in kernels of every condition.
  """
  values = dict(constants or {})
  values |= zip(jaxpr.constvars, getattr(jaxpr, "consts", ()), strict=False)
  total = kernels = 0
  for equation in jaxpr.eqns:
    if equation.primitive.name == "dot_general":
      total += _product_flops(equation)
    is_kernel = equation.primitive.name == "pallas_call"
    own = () if is_kernel else shares  # its conditions are about blocks
    inner = [flops(*of, own) for of in _inner(equation, values)]
    if equation.primitive.name == "cond":
      by_platform = equation.params.get("branches_platforms") is not None
      inner = [_of_branches(inner, () if by_platform else own)]
    times = _times(equation, values)
    total += round(times * sum(f.total for f in inner))
    kernels += round(times * sum(f[0 if is_kernel else 1] for f in inner))
  return Flops(total, kernels)


def _of_branches(branches: list[Flops], shares: Sequence[float]) -> Flops:
  """Return the FLOPs of a condition: the mean by shares, or the most."""
  if len(branches) != len(shares):
    return max(branches)
  of_all = zip(*branches, strict=True)
  return Flops(
    *(
      round(sum(n * share for n, share in zip(numbers, shares, strict=True)))
      for numbers in of_all
    )
  )


def needed_flops(jaxpr: Any, shares: Sequence[float] = ()) -> Flops:
  """Count the FLOPs whose results are read, as a compiler leaves them.

  Args:
    jaxpr: a traced function with its constants, such as traced.jaxpr.
    shares: of the branches of conditions; see `flops`.
  """
  constants = dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
  outputs = [True] * len(jaxpr.jaxpr.outvars)
  needed, _ = partial_eval.dce_jaxpr(jaxpr.jaxpr, outputs, instantiate=True)
  return flops(needed, constants, shares)


def _times(equation: Any, values: Mapping[Any, Any]) -> float:
  """Return the number of times that an equation runs its inner functions."""
  if equation.primitive.name == "shard_map":
    return equation.params["mesh"].size
  if equation.primitive.name != "pallas_call":
    return equation.params.get("length", 1)
  blocks = math.prod(equation.params["grid_mapping"].grid)
  if not equation.params["name"].startswith("splash"):
    return blocks
  # the second operand marks each block of scores that is to be computed
  marks = _value(equation.invars[1], values)
  return blocks * (1 if marks is None else np.mean(np.asarray(marks) != 0))


def _inner(
  equation: Any, values: Mapping[Any, Any]
) -> Iterator[tuple[Any, Mapping[Any, Any]]]:
  """Yield the functions inside an equation, each with its constants."""
  name = equation.primitive.name
  arguments = [_value(x, values) for x in equation.invars]
  if name == "scan":  # the other arguments change from turn to turn
    arguments[equation.params["num_consts"] :] = []
  if name == "while":
    arguments = []
  if name == "cond":
    arguments = arguments[1:]
  for value in jax.tree.leaves(list(equation.params.values())):
    if hasattr(value, "eqns"):
      constants = dict(zip(value.invars, arguments, strict=False))
      yield value, {k: v for k, v in constants.items() if v is not None}


def _value(x: Any, values: Mapping[Any, Any]) -> Any:
  """Return the value of an equation's operand, None if it is not known."""
  return x.val if isinstance(x, Literal) else values.get(x)


def _product_flops(equation: Any) -> int:
  """Return the FLOPs of one matrix product."""
  (contracted, _), _ = equation.params["dimension_numbers"]
  left = equation.invars[0].aval.shape
  depth = math.prod(left[axis] for axis in contracted)
  return 2 * depth * math.prod(equation.outvars[0].aval.shape)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
  """Return the lines of each computation, and the name of the entry."""
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
  bodies: Mapping[str, list[str]], entry: str, shares: Sequence[float]
) -> Mapping[str, float]:
  """Return the number of times that each computation runs."""
  times: dict[str, float] = defaultdict(float)

  def visit(name: str, count: float) -> None:
    times[name] += count
    for line in bodies[name]:
      if " fusion(" in line:
        continue  # the fusion's own line has the cycles of all of it
      for called, share in _called(line, shares):
        if called in bodies and share:
          visit(called, count * share * _turns(line, bodies))

  visit(entry, 1)
  return times


def _called(line: str, shares: Sequence[float]) -> Iterator[tuple[str, float]]:
  """Yield the computations that an operation runs, and how often."""
  for name in re.findall(r"(?:body|calls|to_apply)=%?([\w.-]+)", line):
    yield name, 1
  for branches in re.findall(r"branch_computations=\{(.*?)\}", line):
    names = re.findall(r"%?([\w.-]+)", branches)
    is_given = len(names) == len(shares)
    yield from zip(names, shares if is_given else [1] * len(names), strict=True)


def _turns(line: str, bodies: Mapping[str, list[str]]) -> int:
  """Return the number of turns of a loop; 1 if unknown or if it is no loop.

  A loop that counts from 0 compares its counter with one constant.
  """
  count = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
  if count:
    return int(count[1])
  condition = re.search(r" while\(.*condition=%?([\w.-]+)", line)
  if not condition or condition[1] not in bodies:
    return 1
  test = "\n".join(bodies[condition[1]])
  bounds = re.findall(r"constant\((\d+)\)", test)
  counts = test.count("direction=") == test.count("direction=LT") == 1
  return int(bounds[0]) if counts and len(bounds) == 1 else 1


def _size(dtype: str, shape: str) -> int:
  """Return the bytes of an array."""
  return _BYTES.get(dtype, 4) * math.prod(int(n) for n in shape.split(",") if n)


def _largest(text: str) -> tuple[str, int]:
  """Return the dtype and shape of the largest array, and its bytes."""
  dtype, shape = max(set(_ARRAY.findall(text)), key=lambda a: _size(*a))
  return f"{dtype}[{shape}]", _size(dtype, shape)
