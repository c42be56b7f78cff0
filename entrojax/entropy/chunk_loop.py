"""Loop over chunks of the vocabulary, each on the device that holds it.

A chunk is a part of the unembedding's rows, and the logits of these tokens for
all N positions. `map_chunks` keeps a function's results for all chunks, and
`join_chunks` joins them chunk by chunk. token_stats.py says what is computed.

Shape letters: N positions, D width, V vocabulary, C a chunk of it, S its
shards, P parts: all chunks of all shards, or chunks that are joined.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from entrojax.entropy.chunk import Chunk
from entrojax.system.sharding import ROWS, spec_of
from entrojax.types import Array, Statistic

_LANES = 128  # a chunk is a multiple of the vector width of a TPU


class Settings(NamedTuple):
  """Static settings, fixed when the graph is traced."""

  temperature: float
  chunk_elements: int
  mesh: Mesh | None
  statistics: tuple[Statistic, ...] = ()


class Inputs(NamedTuple):
  """Inputs of the loop over chunks; on a mesh, the part of one device."""

  hidden: Array  # f[N, D]
  table: Array  # f[V, D]
  ids: Array  # i32[V], the token of each row of the table
  targets: Array  # i32[N]


def shardings(mesh: Mesh | None, table: Array) -> tuple[Any, PartitionSpec]:
  """Return the shardings of the `Inputs` and of arrays [S, N]."""
  if mesh is None:
    specs: list[Any] = [PartitionSpec()] * 4
    return Inputs(*specs), PartitionSpec()
  table_spec = spec_of("embed_tokens", table.shape, mesh)
  ids_spec = PartitionSpec(table_spec[0])
  specs = [ROWS, table_spec, ids_spec, ROWS]
  return Inputs(*specs), PartitionSpec(*ids_spec, *ROWS)


def on_mesh(function, mesh: Mesh | None, *, in_specs, out_specs):
  """Run a function on each device, for the device's part of its arguments."""
  if mesh is None:
    return function
  return jax.shard_map(
    function,
    mesh=mesh,
    in_specs=in_specs,
    out_specs=out_specs,
    check_vma=False,
  )


def map_chunks(
  settings: Settings, inputs: Inputs, function: Callable[[Chunk], Any]
) -> Any:
  """Apply a function to all chunks, each on the device that holds it.

  Args:
    settings: static.
    inputs: of all devices.
    function: (chunk) -> arrays [N, ...], for the tokens of a device.

  Returns:
    The results of all chunks of all shards, stacked: arrays [P, N, ...].
  """
  inputs_spec, part_spec = shardings(settings.mesh, inputs.table)

  def on_device(inputs):
    size, count = chunk_size(settings, inputs)
    return jax.lax.map(
      lambda i: function(read_chunk(settings, inputs, size, i)),
      jnp.arange(count),
    )

  return on_mesh(
    on_device, settings.mesh, in_specs=(inputs_spec,), out_specs=part_spec
  )(inputs)


def join_chunks(
  settings: Settings,
  inputs: Inputs,
  function: Callable[..., Any],
  join: Callable[[Any], Any],
  *rows: Array,
) -> Any:
  """Join the results of a function over the chunks of each device.

  Unlike `map_chunks` it holds the results of one chunk at a time.

  Args:
    settings: static.
    inputs: of all devices.
    function: (chunk, *rows) -> arrays [N, ...].
    join: takes the results of two parts, stacked to [2, N, ...], and returns
      the result of both together.
    *rows: arrays [N, ...].

  Returns:
    The results of all shards, stacked: arrays [S, N, ...].
  """
  inputs_spec, part_spec = shardings(settings.mesh, inputs.table)

  def on_device(inputs, *rows):
    size, count = chunk_size(settings, inputs)
    result = lambda i: function(read_chunk(settings, inputs, size, i), *rows)

    def join_next(i, before):
      new = result(i)
      both = join(jax.tree.map(lambda *x: jnp.stack(x), before, new))
      return jax.tree.map(lambda *x: jnp.where(i == 0, *x), new, both)

    shapes = jax.eval_shape(result, jnp.int32(0))
    start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    joined = jax.lax.fori_loop(0, count, join_next, start)
    return jax.tree.map(lambda x: x[None], joined)

  return on_mesh(
    on_device,
    settings.mesh,
    in_specs=(inputs_spec, *(inputs_spec.targets for _ in rows)),
    out_specs=part_spec,
  )(inputs, *rows)


def reduce_chunks(
  settings: Settings,
  inputs: Inputs,
  function: Callable[..., tuple[Array, ...]],
  reductions: tuple[Callable[..., Array], ...],
  *rows: Array,
) -> tuple[Array, ...]:
  """Reduce the results of a function over all chunks; see ReduceChunks."""

  def reduce(parts):
    return tuple(
      reduction(x, axis=0)
      for reduction, x in zip(reductions, parts, strict=True)
    )

  return reduce(join_chunks(settings, inputs, function, reduce, *rows))


def chunk_size(settings: Settings, inputs: Inputs) -> tuple[int, int]:
  """Return (rows of the table in a chunk, number of chunks)."""
  num_rows = inputs.table.shape[0]
  size = -(-settings.chunk_elements // inputs.hidden.shape[0])
  count = -(-num_rows // (-(-size // _LANES) * _LANES))
  size = -(-num_rows // count)
  return min(-(-size // _LANES) * _LANES, num_rows), count


def first_row(table: Array, size: int, i: Array) -> Array:
  """Return the first row of chunk i; the last chunk may overlap another."""
  return jnp.minimum(i * size, table.shape[0] - size)


def read_chunk(
  settings: Settings, inputs: Inputs, size: int, i: Array
) -> Chunk:
  """Compute the logits of chunk i."""
  hidden, table, ids, targets = inputs
  start = first_row(table, size, i)
  rows = jax.lax.dynamic_slice_in_dim(table, start, size).astype(hidden.dtype)
  if rows.shape[1] < hidden.shape[1]:
    rows = jax.lax.all_gather(rows, "fsdp", axis=1, tiled=True)
  logits = product("nd,cd->nc", hidden, rows) / settings.temperature
  new = (start + jnp.arange(size) >= i * size)[None]
  chunk_ids = jax.lax.dynamic_slice_in_dim(ids, start, size)[None]
  hit = new & (chunk_ids == targets[:, None])
  return Chunk(logits, rows, chunk_ids, hit, new)


def sum_over_tokens(
  settings: Settings, rows_grad: Array, table: Array
) -> Array:
  """Sum the gradient of rows over all devices that hold other tokens."""
  if settings.mesh is None:
    return rows_grad
  if table.shape[1] < rows_grad.shape[1]:
    rows_grad = jax.lax.psum_scatter(
      rows_grad, "fsdp", scatter_dimension=1, tiled=True
    )
    return jax.lax.psum(rows_grad, "data")
  return jax.lax.psum(rows_grad, ("data", "fsdp"))


def product(dimensions: str, a: Array, b: Array) -> Array:
  """Multiply with sums in float32 or wider."""
  return jnp.einsum(dimensions, a, b, preferred_element_type=wide(a.dtype))


def wide(dtype: Any) -> Any:
  """Return float32, or the type itself if it is wider."""
  return jnp.promote_types(dtype, jnp.float32)
