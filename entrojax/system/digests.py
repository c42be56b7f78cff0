"""Compute digests of arrays, with which a damaged checkpoint is recognised.

    digest(x) = sum_i mix(bits(x_i) ^ mix(i))  mod 2^32

i counts the elements in row-major order, and mix is the finalizer of
MurmurHash3, a bijection of 32 bits. Hence a change of a single element always
changes the digest. A change of several elements leaves it the same with
probability 2^-32. The sum is over integers, so the digest does not depend on
how the array is split over devices, and it is computed where the array lies.
"""

from collections.abc import Mapping
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.types import Array

# MurmurHash3 (Austin Appleby, public domain), fmix32: shifts and factors
_FACTORS = (0x85EBCA6B, 0xC2B2AE35)


class Leaf(NamedTuple):
  """What a checkpoint records about one of its arrays."""

  dtype: str
  shape: list[int]
  digest: int  # u32


def digests(tree: Any) -> dict[str, Leaf]:
  """Compute the digest of each array of a tree.

  Args:
    tree: arrays of any dtype, on any devices; PRNG keys are arrays too.

  Returns:
    A Leaf for each path of the tree, such as "params/embed_tokens".
  """
  arrays = _arrays(tree)
  with jax.transfer_guard("allow"):  # a few scalars, and arrays of the host
    numbers = jax.device_get({k: _in_turn(x) for k, x in arrays.items()})
  return {
    name: Leaf(*_form(array), int(numbers[name]))
    for name, array in arrays.items()
  }


def _in_turn(array: Any) -> Any:
  """Start to compute a digest; on a CPU, also wait for it.

  Sums over fake devices wait for each other's threads. Many of them at once can
  hold all threads of a CPU, and XLA ends a process that waits for 40 seconds.
  """
  number = _digest(array)
  if jax.default_backend() == "cpu":
    jax.block_until_ready(number)
  return number


def forms(tree: Any) -> dict[str, tuple[str, list[int]]]:
  """Return (dtype, shape) of each array of a tree, by its path."""
  return {name: _form(array) for name, array in _arrays(tree).items()}


def first_difference(
  recorded: Mapping[str, Leaf], tree: Any, *, partial: bool = False
) -> str | None:
  """Describe the first array that differs from what was recorded about it.

  Args:
    recorded: a Leaf for each path.
    tree: the arrays as they were read.
    partial: whether the tree is only a part of what was recorded.

  Returns:
    A clause such as "the data of params/w does not match its digest"; None if
    all is as recorded.
  """
  current = digests(tree)
  if not partial and (missing := recorded.keys() - current.keys()):
    return f"{min(missing)} is missing"
  for name, leaf in current.items():
    if recorded.get(name) != leaf:
      return f"the data of {name} does not match its digest"
  return None


def _arrays(tree: Any) -> dict[str, Array]:
  """Return the arrays of a tree by path, PRNG keys as their words."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): (
      _key_data(leaf)
      if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
      else leaf
    )
    for path, leaf in leaves
  }


def _key_data(key: Any) -> Any:
  """Return the words of a PRNG key, or their form for the form of a key."""
  if isinstance(key, jax.ShapeDtypeStruct):
    return jax.eval_shape(jax.random.key_data, key)
  return jax.random.key_data(key)


def _form(array: Any) -> tuple[str, list[int]]:
  return str(array.dtype), list(array.shape)


@jax.jit
def _digest(x: Array) -> Array:
  """Compute the digest u32[] of an array; see the module's docstring."""
  bits = _bits(x)
  index = jnp.zeros(bits.shape, jnp.uint32)
  for axis in range(bits.ndim):
    stride = math.prod(bits.shape[axis + 1 :]) % 2**32
    index += jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis) * np.uint32(
      stride
    )
  return jnp.sum(_mix(bits ^ _mix(index)), dtype=jnp.uint32)


def _bits(x: Array) -> Array:
  """Return the bits of an array's elements as u32; 8 bytes become two."""
  x = jnp.asarray(x)
  if x.dtype == bool:
    return x.astype(jnp.uint32)
  size = min(x.dtype.itemsize, 4)
  unsigned = jnp.dtype(f"uint{8 * size}")
  return jax.lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32)


def _mix(bits: Array) -> Array:
  """Mix u32 numbers; a bijection."""
  bits ^= bits >> 16
  bits *= np.uint32(_FACTORS[0])
  bits ^= bits >> 13
  bits *= np.uint32(_FACTORS[1])
  return bits ^ (bits >> 16)
