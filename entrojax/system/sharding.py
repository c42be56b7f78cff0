"""Place arrays on devices: one mesh, one table from parameter to sharding.

The mesh has three axes. The rows of a batch are split over 'data' and 'fsdp'
together. Weight matrices are split over 'fsdp' and 'tensor', and never over
'data': 'tensor' splits heads, hidden units and the vocabulary, and 'fsdp' the
other dimension. The optimizer's moments are placed as their parameters are. An
axis that does not divide a dimension does not split it. Parameters that the
table does not name, such as the norms', are copied to every device. Rollouts
and training use the same parameter arrays on the same mesh.
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

# The first match wins. A leaf under 'layers' has the depth as its first axis.
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
  """Build the mesh.

  Args:
    shape: sizes of the axes (data, fsdp, tensor). One of them may be -1: it
      gets the size that uses all devices.
    devices: the devices of all processes; by default all that JAX sees. If they
      belong to several TPU slices, neighbours on the axes fsdp and tensor are
      in the same slice: only the axis data crosses the slower network between
      slices.

  Raises:
    ValueError: the shape does not fit the number of devices or of slices.
  """
  devices = jax.devices() if devices is None else devices
  sizes = list(shape)
  if len(sizes) != len(AXES) or sizes.count(-1) > 1:
    raise ValueError(
      f"mesh needs a size for each of {AXES}, at most one of them -1, got "
      f"{tuple(shape)}"
    )
  if -1 in sizes:
    others = int(np.prod([s for s in sizes if s != -1]))
    sizes[sizes.index(-1)] = max(len(devices) // others, 1)
  if int(np.prod(sizes)) != len(devices):
    raise ValueError(
      f"mesh {dict(zip(AXES, sizes, strict=True))} needs "
      f"{int(np.prod(sizes))} devices, but there are {len(devices)}"
    )
  types = (AxisType.Auto,) * len(AXES)
  slices = len({getattr(device, "slice_index", 0) for device in devices})
  if slices == 1:
    return jax.make_mesh(tuple(sizes), AXES, axis_types=types, devices=devices)
  if devices[0].platform != "tpu":  # GPU hosts: any axis may cross them
    placed = mesh_utils.create_device_mesh(sizes, devices)
    return Mesh(placed, AXES, axis_types=types)
  if sizes[0] % slices:
    raise ValueError(
      f"mesh {dict(zip(AXES, sizes, strict=True))}: the axis data must be a "
      f"multiple of {slices}, the number of slices that the devices belong to"
    )
  placed = mesh_utils.create_hybrid_device_mesh(
    (sizes[0] // slices, *sizes[1:]),
    (slices, 1, 1),
    devices,
    allow_split_physical_axes=True,
  )
  return Mesh(placed, AXES, axis_types=types)


def num_row_shards(mesh: Mesh) -> int:
  """Return the number of parts that the rows of a batch are split into."""
  return mesh.shape["data"] * mesh.shape["fsdp"]


def param_shardings(mesh: Mesh, params: Any) -> Any:
  """Return the shardings of parameters, or of a state that holds them.

  The path of an optimizer moment ends with the path of its parameter, so both
  are placed alike. An axis that does not divide a dimension is left out for
  that leaf.
  """

  def place(path, leaf):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return NamedSharding(mesh, spec_of(name, np.shape(leaf), mesh))

  return jax.tree_util.tree_map_with_path(place, params)


def spec_of(name: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
  """Return the axes that split a parameter with this path and shape."""
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
  """Return the placement of scalars and keys: a copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def split_rows(tree: Any, mesh: Mesh | None, *, axis: int = 0) -> Any:
  """Split arrays over the mesh along their axis of rows, inside a graph.

  Without this constraint a gather of rows leaves every device with all rows.

  Args:
    tree: arrays whose axis number `axis` is the rows.
    mesh: the mesh; None leaves the tree alone.
    axis: 0, or 1 if the first axis is the micro-batches.
  """
  if mesh is None:
    return tree
  placed = NamedSharding(mesh, PartitionSpec(*[None] * axis, *ROWS))
  return jax.lax.with_sharding_constraint(tree, placed)


def split_activations(x_ND: Any, mesh: Mesh | None) -> Any:
  """Split activations f[N, D] by row, and by width over the axis 'tensor'.

  The activations that a rematerialised layer keeps then take up as small a part
  of each device as its parameters do. Layers gather what they multiply, and
  scatter what they sum. A width that the axis does not divide is not split.
  """
  if mesh is None:
    return x_ND
  remainder = x_ND.shape[1] % mesh.shape["tensor"]
  placed = PartitionSpec(*ROWS, None if remainder else "tensor")
  return jax.lax.with_sharding_constraint(x_ND, NamedSharding(mesh, placed))


def by_row(mesh: Mesh) -> NamedSharding:
  """Return the placement of arrays whose first axis is rows or prompts."""
  return NamedSharding(mesh, ROWS)
