"""Where arrays live: one mesh, one table from parameter path to placement.

Axes: 'data' splits rows, 'fsdp' splits rows and parameters, 'tensor' splits
heads, hidden units and the vocabulary. Rollouts and training use the same
parameter arrays on the same mesh. jax.jit with these shardings is what was
called pjit.
"""

from collections.abc import Sequence
import re
from typing import Any

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

AXES = ("data", "fsdp", "tensor")
ROWS = PartitionSpec(("data", "fsdp"))  # the batch axis of every array of rows

# First match wins; a leaf under 'layers' has the depth as its first axis.
_TABLE = (
  (r"embed_tokens$|lm_head$", PartitionSpec("tensor", "fsdp")),
  (r"(q|k|v|gate|up)_proj/kernel$", PartitionSpec(None, "fsdp", "tensor")),
  (r"(o|down)_proj/kernel$", PartitionSpec(None, "tensor", "fsdp")),
  (r"(q|k|v)_proj/bias$", PartitionSpec(None, "tensor")),
  (r"(q|k|v|gate|up)_proj/lora_a$", PartitionSpec(None, "fsdp")),
  (r"(q|k|v|gate|up)_proj/lora_b$", PartitionSpec(None, None, "tensor")),
  (r"(o|down)_proj/lora_a$", PartitionSpec(None, "tensor")),
  (r"(o|down)_proj/lora_b$", PartitionSpec(None, None, "fsdp")),
  (r"", PartitionSpec()),
)


def make_mesh(shape: Sequence[int], devices: Sequence[Any] | None = None):
  """Makes the mesh.

  Args:
    shape: sizes of the axes (data, fsdp, tensor); one may be -1: whatever the
      number of devices leaves.
    devices: all of them, of all processes, by default. Where they are of
      several TPU slices, neighbours on the axes fsdp and tensor are of one: it
      is the axis data alone that crosses the slower network between slices.

  Raises:
    ValueError: the shape does not fit the number of devices, or of slices.
  """
  devices = jax.devices() if devices is None else devices
  sizes = list(shape)
  if len(sizes) != len(AXES) or sizes.count(-1) > 1:
    raise ValueError(
      f"mesh needs a size for each of {AXES}, at most one of them -1, got "
      f"{tuple(shape)}"
    )
  if -1 in sizes:
    known = int(np.prod([s for s in sizes if s != -1]))
    sizes[sizes.index(-1)] = max(len(devices) // known, 1)
  if int(np.prod(sizes)) != len(devices):
    raise ValueError(
      f"mesh {dict(zip(AXES, sizes, strict=True))} needs "
      f"{int(np.prod(sizes))} devices, {len(devices)} are here"
    )
  types = (AxisType.Auto,) * len(AXES)
  slices = len({getattr(device, "slice_index", 0) for device in devices})
  if slices == 1:
    return jax.make_mesh(tuple(sizes), AXES, axis_types=types, devices=devices)
  if devices[0].platform != "tpu":  # hosts of GPUs: one after the other
    placed = mesh_utils.create_device_mesh(sizes, devices)
    return Mesh(placed, AXES, axis_types=types)
  if sizes[0] % slices:
    raise ValueError(
      f"mesh {dict(zip(AXES, sizes, strict=True))}: the axis data is to be a "
      f"multiple of {slices}, the number of slices that the devices are of"
    )
  placed = mesh_utils.create_hybrid_device_mesh(
    (sizes[0] // slices, *sizes[1:]),
    (slices, 1, 1),
    devices,
    allow_split_physical_axes=True,
  )
  return Mesh(placed, AXES, axis_types=types)


def num_row_shards(mesh: Mesh) -> int:
  """Returns into how many parts the rows of a batch are split."""
  return mesh.shape["data"] * mesh.shape["fsdp"]


def param_shardings(mesh: Mesh, params: Any) -> Any:
  """Returns the tree of shardings for parameters, or anything shaped so.

  Optimizer moments carry the path of their parameter and so its placement.
  An axis that does not divide a dimension is left out for that leaf.
  """

  def place(path, leaf):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return NamedSharding(mesh, spec_of(name, np.shape(leaf), mesh))

  return jax.tree_util.tree_map_with_path(place, params)


def spec_of(name: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
  """Returns how the parameter of this path and shape is split."""
  spec = next(s for pattern, s in _TABLE if re.search(pattern, name))
  if len(spec) > len(shape):
    return PartitionSpec()
  return PartitionSpec(
    *(
      axis if axis is None or size % mesh.shape[axis] == 0 else None
      for axis, size in zip(spec, shape, strict=False)
    )
  )


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the placement of scalars and keys: a copy everywhere."""
  return NamedSharding(mesh, PartitionSpec())


def split_rows(tree: Any, mesh: Mesh | None, *, axis: int = 0) -> Any:
  """Splits arrays over the mesh along their axis of rows, inside a graph.

  Without it a gather of rows leaves every device with all of them.

  Args:
    tree: of arrays whose axis `axis` is rows.
    mesh: None leaves the tree alone.
    axis: 0, or 1 where the first axis is micro-batches.
  """
  if mesh is None:
    return tree
  placed = NamedSharding(mesh, PartitionSpec(*[None] * axis, *ROWS))
  return jax.lax.with_sharding_constraint(tree, placed)


def split_activations(x_ND: Any, mesh: Mesh | None) -> Any:
  """Splits activations [N, D] over rows, and over 'tensor' by their width.

  What a rematerialised layer keeps is then as small on a device as its part of
  the parameters; layers gather what they multiply, and scatter what they sum.
  """
  if mesh is None:
    return x_ND
  whole = x_ND.shape[1] % mesh.shape["tensor"]
  placed = PartitionSpec(*ROWS, None if whole else "tensor")
  return jax.lax.with_sharding_constraint(x_ND, NamedSharding(mesh, placed))


def by_row(mesh: Mesh) -> NamedSharding:
  """Returns the placement of arrays whose first axis is rows or prompts."""
  return NamedSharding(mesh, ROWS)
