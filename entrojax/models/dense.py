"""The product of a dense layer, with a weight gradient that is fast on CPUs.

    y = x W        dW = x^T g = (g^T x)^T

g is the gradient of y. The gradient of W can be computed in either of these two
ways. A CPU is up to twice as fast with the one whose first matrix has fewer
rows: with 2,016 tokens and W of 512 x 128 in float32, one core reaches 57 and
105 GFLOP/s. On a CPU the faster one is taken; elsewhere it is x^T g, and the
compiler chooses how.

With `narrow`, the operands of all three products are rounded to bfloat16, and
the sums stay in float32, as a TPU does by default. A CPU with matrix units
(Intel's AMX) is then two to three times as fast with many tokens. With the 64
of a decoding step it is no faster, unless kernels are rounded once before the
loop over steps, as decoder.py does for layers outside of a scan (RESULTS.md).
Activations stay in float32, because XLA's loops copy whole arrays in bfloat16
on a CPU, where they are slower than float32. The library for the matrix units
sums over the last axis of its first operand alone, so that x^T or g^T,
whichever is smaller, is written to memory first. Devices do this for their own
rows; if the width is split as well, dW is computed in float32.

Shape letters: N tokens, I inputs, O outputs.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax.experimental.layout import Layout, with_layout_constraint
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from entrojax.models.kept import costly
from entrojax.system.sharding import ROWS, num_row_shards
from entrojax.types import Array


def dot_general(
  x_NI: Array,
  kernel_IO: Array,
  dimensions: Any,
  *,
  narrow: bool = False,
  mesh: Mesh | None = None,
  **options,
):
  """Compute x W; replaces jax.lax.dot_general in an nnx.Linear.

  Args:
    x_NI: f[N, I], the inputs.
    kernel_IO: f[I, O], the weights.
    dimensions: the contraction of x W; no other is supported.
    narrow: round the operands of float32 products to bfloat16.
    mesh: how arrays are split over devices; None: a single device.
    **options: must be None.

  Returns:
    f[N, O].

  Raises:
    ValueError: the layer needs another contraction, or sets an option.
  """
  options = {
    name: value for name, value in options.items() if value is not None
  }
  if dimensions != (((1,), (0,)), ((), ())) or options:
    raise ValueError(
      "only a plain product x W is supported, got dimensions "
      f"{dimensions} and options {options}"
    )
  if narrow and x_NI.dtype == jnp.float32:
    return costly(_narrow_product(mesh, x_NI, kernel_IO))
  return costly(_product(x_NI, kernel_IO))


@jax.custom_vjp
def _product(x_NI, kernel_IO):
  return x_NI @ kernel_IO


def _forward(x_NI, kernel_IO):
  return _product(x_NI, kernel_IO), (x_NI, kernel_IO)


def _backward(saved, g_NO):
  x_NI, kernel_IO = saved
  x_grad_NI = jnp.einsum("no,io->ni", g_NO, kernel_IO)
  return x_grad_NI, _kernel_grad(x_NI, g_NO)


_product.defvjp(_forward, _backward)


def _kernel_grad(x_NI, g_NO):
  """Compute x^T g in the faster one of the two ways."""
  if x_NI.shape[1] <= g_NO.shape[1]:
    return _kernel_grad_plain(x_NI, g_NO)
  return jax.lax.platform_dependent(
    x_NI, g_NO, cpu=_kernel_grad_transposed, default=_kernel_grad_plain
  )


def _kernel_grad_plain(x_NI, g_NO):
  return jnp.einsum("ni,no->io", x_NI, g_NO)


def _kernel_grad_transposed(x_NI, g_NO):
  grad_OI = jnp.einsum("ni,no->oi", x_NI, g_NO)
  # without the barrier the compiler swaps the operands back
  return jax.lax.optimization_barrier(grad_OI).T


# -- operands in bfloat16 ------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _narrow_product(mesh, x_NI, kernel_IO):
  del mesh
  return _multiply(*_rounded(x_NI, kernel_IO), axes=(1, 0))


def _forward_narrow(mesh, x_NI, kernel_IO):
  return _narrow_product(mesh, x_NI, kernel_IO), (x_NI, kernel_IO)


def _backward_narrow(mesh, saved, g_NO):
  x_NI, kernel_IO = saved
  x_grad_NI = _multiply(*_rounded(g_NO, kernel_IO), axes=(1, 1))
  kernel_grad_IO = jax.lax.platform_dependent(
    x_NI,
    g_NO,
    cpu=_kernel_grad_on(mesh, x_NI.shape[0]),
    default=lambda x, g: _multiply(*_rounded(x, g), axes=(0, 0)),
  )
  return x_grad_NI, kernel_grad_IO


_narrow_product.defvjp(_forward_narrow, _backward_narrow)


def _kernel_grad_on(mesh: Mesh | None, num_rows: int) -> Callable:
  """Return a function that computes x^T g on a CPU's devices.

  Rows that are split evenly are summed by each device, and then over devices.
  Otherwise the compiler splits a product in float32.
  """
  if mesh is None or mesh.size == 1:
    return _narrow_kernel_grad
  if mesh.shape["tensor"] > 1 or num_rows % num_row_shards(mesh):
    return _kernel_grad
  return jax.shard_map(
    lambda x, g: jax.lax.psum(_narrow_kernel_grad(x, g), ROWS[0]),
    mesh=mesh,
    in_specs=(ROWS, ROWS),
    out_specs=PartitionSpec(),
    check_vma=False,
  )


def _narrow_kernel_grad(x_NI, g_NO):
  """Compute x^T g, with the transpose of the narrower one in memory."""
  x_NI, g_NO = _rounded(x_NI, g_NO)
  if x_NI.shape[1] <= g_NO.shape[1]:
    return _multiply(_transposed_in_memory(x_NI), g_NO, axes=(1, 0))
  grad_OI = _multiply(_transposed_in_memory(g_NO), x_NI, axes=(1, 0))
  # without the barrier the compiler swaps the operands back
  return jax.lax.optimization_barrier(grad_OI).T


def _transposed_in_memory(x_NI):
  """Transpose a matrix and write it to memory, row after row."""
  return with_layout_constraint(x_NI.T, Layout(major_to_minor=(0, 1)))


def _rounded(*arrays):
  return [x.astype(jnp.bfloat16) for x in arrays]


def _multiply(a, b, *, axes):
  """Sum over one axis of either matrix, in float32."""
  first, second = axes
  return jax.lax.dot_general(
    a,
    b,
    (((first,), (second,)), ((), ())),
    preferred_element_type=jnp.float32,
  )
