"""Run one of several branches, and keep the arrays of this one alone.

The branches compute the same function at different lengths. The gradient of
jax.lax.switch would keep what the backward pass of any branch reads, and with
it the parameters, once for each micro-batch. Here the branch that runs returns
what its own backward pass reads besides parameters and inputs. An array of a
shorter branch is filled up with zeros to the shape that it has in the longest.

On a mesh an array may be split along an axis that grows with the length,
because the tokens of all rows share one axis in most of a model. Each device's
part of such an axis is filled up by itself, so that nothing moves between
devices.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from entrojax.types import Array, Params

# (params, inputs) -> arrays
Branch = Callable[[Params, Any], Any]


class _Parts(NamedTuple):
  """How the pull-back of a branch is put together again."""

  structure: Any  # of the pull-back as a tree
  # for each of its leaves: its place among parameters and inputs, or None if
  # it is one of the arrays that are kept
  places: list[int | None]
  kept: list[jax.ShapeDtypeStruct]


def switch(
  which: Array,
  branches: Sequence[Branch],
  params: Params,
  inputs: Any,
  *,
  num_shards: int = 1,
) -> Any:
  """Run a branch, with a gradient for the parameters.

  Args:
    which: i32[], the number of the branch.
    branches: functions (params, inputs) -> arrays of the same shapes.
    params: the parameters.
    inputs: arrays that have no gradient.
    num_shards: the number of parts that rows are split into on a mesh.

  Returns:
    What the branch returns.
  """
  branches, frozen = _without_closures(branches, params, inputs)
  parts = [_parts_of(branch, params, (inputs, frozen)) for branch in branches]
  slots, shapes = _slots([part.kept for part in parts])

  @jax.custom_vjp
  def run(params, inputs, which):
    return jax.lax.switch(which, branches, params, inputs)

  def forward(params, inputs, which):
    def of(branch, own):
      def run_and_keep(params, inputs):
        outputs, _, kept = _take_apart(branch, params, inputs)
        arrays = dict(zip(own, kept, strict=True))
        return outputs, [
          _fit(arrays[i], shape.shape, num_shards)
          if i in arrays
          else jnp.zeros(shape.shape, shape.dtype)
          for i, shape in enumerate(shapes)
        ]

      return run_and_keep

    outputs, kept = jax.lax.switch(
      which, list(map(of, branches, slots)), params, inputs
    )
    return outputs, (params, inputs, which, kept)

  def backward(saved, cotangents):
    params, inputs, which, kept = saved

    def of(part, own):
      def pull_back(params, inputs, kept, cotangents):
        arrays = [
          _fit(kept[i], x.shape, num_shards)
          for i, x in zip(own, part.kept, strict=True)
        ]
        return _put_together(part, params, inputs, arrays)(cotangents)[0]

      return pull_back

    gradient = jax.lax.switch(
      which, list(map(of, parts, slots)), params, inputs, kept, cotangents
    )
    return gradient, None, None

  run.defvjp(forward, backward)
  return run(params, (inputs, frozen), which)


def _without_closures(
  branches: Sequence[Branch], params: Params, inputs: Any
) -> tuple[list[Branch], list[Array]]:
  """Turn arrays that branches close over into inputs.

  Below an adapter (LoRA) these are the frozen parameters.

  Returns:
    (functions (params, (inputs, arrays)) -> the same, the arrays).
  """
  frozen: dict[int, Array] = {}
  functions = []
  for branch in branches:
    pure, own = jax.closure_convert(branch, params, inputs)
    frozen |= {id(x): x for x in own}
    functions.append((pure, list(map(id, own))))
  order = list(frozen)

  def of(pure, own):
    places = [order.index(x) for x in own]
    return lambda params, inputs: pure(
      params, inputs[0], *(inputs[1][i] for i in places)
    )

  return [of(*function) for function in functions], list(frozen.values())


def _take_apart(
  branch: Branch, params: Params, inputs: Any
) -> tuple[Any, tuple[Any, list[int | None]], list[Array]]:
  """Run a branch, and take its pull-back apart.

  Returns:
    (outputs, (structure and places, as in _Parts), arrays to keep).
  """
  outputs, pull_back = jax.vjp(lambda p: branch(p, inputs), params)
  leaves, structure = jax.tree.flatten(pull_back)
  given = {id(x): i for i, x in enumerate(jax.tree.leaves((params, inputs)))}
  places = [given.get(id(leaf)) for leaf in leaves]
  kept = [x for x, i in zip(leaves, places, strict=True) if i is None]
  return outputs, (structure, places), kept


def _put_together(
  part: _Parts, params: Params, inputs: Any, kept: list[Array]
) -> Callable[[Any], tuple[Params]]:
  """Return the pull-back that `_take_apart` has taken apart."""
  given, rest = jax.tree.leaves((params, inputs)), iter(kept)
  leaves = [next(rest) if i is None else given[i] for i in part.places]
  return jax.tree.unflatten(part.structure, leaves)


def _parts_of(branch: Branch, params: Params, inputs: Any) -> _Parts:
  """Trace a branch to see how its pull-back is taken apart."""
  traced = []

  def take_apart(params, inputs):
    _, parts, kept = _take_apart(branch, params, inputs)
    traced.append(parts)
    return kept

  kept = jax.eval_shape(take_apart, params, inputs)
  structure, places = traced[-1]
  return _Parts(structure, places, kept)


def _slots(
  kept: Sequence[Sequence[jax.ShapeDtypeStruct]],
) -> tuple[list[list[int]], list[jax.ShapeDtypeStruct]]:
  """Give the arrays of all branches shared slots.

  The n-th array with a type and a number of axes has the same slot in each
  branch, which is as long as the longest of them along each axis.

  Returns:
    (the slots of each branch's arrays, the shape of each slot).
  """
  order: dict[Any, int] = {}
  shapes: list[jax.ShapeDtypeStruct] = []
  slots = []
  for arrays in kept:
    seen: Counter = Counter()
    own = []
    for x in arrays:
      kind = (x.dtype, x.ndim)
      place = order.setdefault((kind, seen[kind]), len(order))
      seen[kind] += 1
      if place == len(shapes):
        shapes.append(jax.ShapeDtypeStruct(x.shape, x.dtype))
      longest = tuple(map(max, x.shape, shapes[place].shape))
      shapes[place] = jax.ShapeDtypeStruct(longest, x.dtype)
      own.append(place)
    slots.append(own)
  return slots, shapes


def _fit(x: Array, shape: tuple[int, ...], num_shards: int) -> Array:
  """Append zeros along the axes shorter than in `shape`; cut longer ones."""
  for axis, size in enumerate(shape):
    old = x.shape[axis]
    if old == size:
      continue
    parts = _num_parts(old, size, num_shards)
    x = x.reshape(*x.shape[:axis], parts, -1, *x.shape[axis + 1 :])
    if size < old:
      x = jax.lax.slice_in_dim(x, 0, size // parts, axis=axis + 1)
    else:
      padding = [(0, 0)] * x.ndim
      padding[axis + 1] = (0, (size - old) // parts)
      x = jnp.pad(x, padding)
    x = x.reshape(*x.shape[:axis], size, *x.shape[axis + 2 :])
  return x


def _num_parts(old: int, new: int, num_shards: int) -> int:
  """Return the number of parts of an axis that are fitted separately."""
  return 1 if old % num_shards or new % num_shards else num_shards
