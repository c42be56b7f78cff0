"""The mesh: the place of each device."""

import dataclasses

import jax
import numpy as np
import pytest

from entrojax.system.sharding import make_mesh


@dataclasses.dataclass(frozen=True)
class Device:
  """The attributes of a device that the mesh reads."""

  id: int
  process_index: int
  platform: str
  device_kind: str
  coords: tuple[int, int, int]
  slice_index: int
  core_on_chip: int = 0


def devices_of(platform: str, num_slices: int, side: int = 2):
  """Return devices of square slices, in an order that mixes the slices."""
  devices = [
    Device(
      id=number,
      process_index=number // 4,
      platform=platform,
      device_kind={"tpu": "TPU v5p"}.get(platform, platform),
      coords=(number % side, number // side % side, 0),
      slice_index=number // side**2,
    )
    for number in range(num_slices * side**2)
  ]
  return devices[::2] + devices[1::2]


def slices_of(mesh) -> np.ndarray:
  return np.vectorize(lambda device: device.slice_index)(mesh.devices)


@pytest.mark.parametrize(
  "shape", [(2, -1, 1), (2, 2, 2), (-1, 2, 1), (4, 1, 2)]
)
def test_the_axis_data_alone_crosses_slices(shape):
  mesh = make_mesh(shape, devices_of("tpu", 2))
  slices = slices_of(mesh)
  data = mesh.shape["data"]
  # the first half of data is one slice, the second the other
  for row, of_row in enumerate(slices):
    assert set(of_row.ravel()) == {row // (data // 2)}
  assert len({device.id for device in mesh.devices.ravel()}) == 8


def test_a_mesh_whose_data_is_no_multiple_of_the_slices_is_refused():
  with pytest.raises(
    ValueError, match=r"mesh .*'data': 2.* multiple of 4, the number of slices"
  ):
    make_mesh((2, -1, 1), devices_of("tpu", 4))


def test_hosts_of_gpus_may_share_any_axis():
  mesh = make_mesh((1, -1, 1), devices_of("gpu", 2))
  assert slices_of(mesh).ravel().tolist() == [0] * 4 + [1] * 4


def test_devices_of_one_slice_are_all_used():
  mesh = make_mesh((2, -1, 2))
  assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}
  assert {d.id for d in mesh.devices.ravel()} == {d.id for d in jax.devices()}
