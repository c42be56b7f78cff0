"""Several processes that run one program, each with its own devices.

All of them read the same config and the same prompts and take the same steps.
A global array lies on the devices of all; a process sees the rows on its own.
So each decodes and verifies the responses of its own prompts, tells the others
what came out, a few numbers a response, and then all hold the same verdicts
and decide alike. The first process writes what a run reports.

In one process everything here is what it is without: nothing is sent.
"""

from collections.abc import Iterator
import contextlib
import json
import os
from typing import Any, NamedTuple

import jax
from jax.experimental import multihost_utils
from jax.sharding import Sharding
import numpy as np


def initialize(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> None:
  """Joins the other processes; comes before anything else of JAX.

  Args:
    coordinator: host:port where the first process can be reached; None: a TPU
      pod, Slurm or GKE knows it, and the rest.
    num_processes: how many there are.
    process_id: which of them this is, from 0.

  Raises:
    ValueError, RuntimeError: nothing is known of others, or they do not come.
  """
  on_cpu = os.environ.get("JAX_PLATFORMS", "").startswith("cpu")
  if on_cpu:
    # with more threads XLA may begin the sums of a loop and those behind it in
    # another order in each process, which gloo does not bear
    os.environ["NPROC"] = "1"
  jax.distributed.initialize(coordinator, num_processes, process_id)
  if jax.default_backend() == "cpu" and not on_cpu:
    raise ValueError(
      "several processes on CPUs need JAX_PLATFORMS=cpu in the environment"
    )


def is_first() -> bool:
  """Returns whether this process writes what the run reports."""
  return jax.process_index() == 0


class Share(NamedTuple):
  """Which process verifies which prompt of a batch."""

  owners: np.ndarray  # i64[Q], a process each
  some: np.ndarray  # i64[], a prompt on the devices of this process

  def of(self, process: int) -> np.ndarray:
    """Returns the numbers of a process's prompts, ascending."""
    return np.flatnonzero(self.owners == process)

  @property
  def mine(self) -> np.ndarray:
    """The numbers of this process's prompts."""
    return self.of(jax.process_index())

  @property
  def held(self) -> np.ndarray:
    """As `mine`, but never empty, so that arrays keep their shapes."""
    return self.mine if self.mine.size else self.some


def share(rows: Any, num_prompts: int) -> Share:
  """Shares out the prompts of a batch among the processes that hold them.

  Args:
    rows: an array whose first axis is the responses, those of a prompt next to
      each other; its placement decides.
    num_prompts: Q, a multiple of the parts that the mesh cuts rows into.
  """
  here = jax.process_index()
  if jax.process_count() == 1:
    owners = np.full(num_prompts, here)
    return Share(owners, np.arange(min(num_prompts, 1)))
  places = rows.sharding.devices_indices_map((num_prompts,))
  holders: dict[tuple[int, int], set[int]] = {}
  for device, (index,) in places.items():
    part = index.indices(num_prompts)[:2]
    holders.setdefault(part, set()).add(device.process_index)
  owners = np.empty(num_prompts, int)
  some = np.empty(0, int)
  for turn, (part, processes) in enumerate(sorted(holders.items())):
    # the parts of a range go to another first process each time
    order = np.roll(sorted(processes), turn)
    pieces = np.array_split(np.arange(*part), len(order))
    for process, piece in zip(order, pieces, strict=True):
      owners[piece] = process
    if here in processes:
      some = np.array(part[:1])
  return Share(owners, some)


def place(tree: Any, sharding: Sharding) -> Any:
  """Places arrays that every process holds; each sends its devices their part.

  Args:
    tree: of numpy arrays, keys, or arrays that are placed already.
    sharding: of each.
  """
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)

  def put(x: Any) -> jax.Array:
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
      return jax.device_put(x, sharding)
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
      return jax.random.wrap_key_data(put(jax.random.key_data(x)))
    array = np.asarray(x)
    return jax.make_array_from_callback(
      array.shape, sharding, array.__getitem__
    )

  return jax.tree.map(put, tree)


def own_rows(tree: Any, prompts: np.ndarray, num_prompts: int) -> Any:
  """Returns the rows of some prompts on the host, as numpy arrays.

  Args:
    tree: of arrays whose first axis is rows, split over the mesh or not.
    prompts: numbers of prompts on devices of this process.
    num_prompts: Q of the whole batch.
  """

  if jax.process_count() == 1:
    on_host = jax.device_get(tree)
    if len(prompts) == num_prompts:
      return on_host
    return jax.tree.map(
      lambda x: x.reshape(num_prompts, -1, *x.shape[1:])[prompts].reshape(
        -1, *x.shape[1:]
      ),
      on_host,
    )

  def rows_of(x: jax.Array) -> np.ndarray:
    size = len(x) // num_prompts
    parts = {s.index[0].indices(len(x))[:2]: s for s in x.addressable_shards}
    pieces = [np.empty((0, *x.shape[1:]), x.dtype)]
    for (start, stop), part in sorted(parts.items()):
      first = prompts[(start <= prompts * size) & (prompts * size < stop)]
      if first.size:
        rows = first[:, None] * size - start + np.arange(size)
        pieces.append(np.asarray(part.data)[rows.reshape(-1)])
    return np.concatenate(pieces)

  jax.tree.map(lambda x: x.copy_to_host_async(), tree)
  return jax.tree.map(rows_of, tree)


def whole(tree: Any) -> Any:
  """Returns arrays on the host, wherever their parts are."""
  if jax.process_count() == 1:
    return jax.device_get(tree)
  return multihost_utils.process_allgather(tree, tiled=True)


def gather(tree: Any, shared: Share) -> Any:
  """Returns what each process knows of its prompts, of all prompts.

  Args:
    tree: of numpy arrays [q, ...] of 4 bytes an element: row i is of prompt
      `shared.held[i]`.
    shared: whose they are.

  Returns:
    The tree with arrays [Q, ...], the same in every process.
  """
  if jax.process_count() == 1:
    return tree
  leaves, structure = jax.tree.flatten(tree)
  words = [
    np.ascontiguousarray(x).view(np.uint32).reshape(len(x), -1) for x in leaves
  ]
  mine, num_prompts = np.concatenate(words, axis=1), len(shared.owners)
  counts = np.bincount(shared.owners, minlength=jax.process_count())
  sent = np.zeros((counts.max(), mine.shape[1]), np.uint32)
  sent[: len(mine)] = mine
  all_words = np.empty((num_prompts, mine.shape[1]), np.uint32)
  for process, got in enumerate(multihost_utils.process_allgather(sent)):
    all_words[shared.of(process)] = got[: counts[process]]
  ends = np.cumsum([w.shape[1] for w in words])[:-1]
  columns = np.split(all_words, ends, axis=1)
  return jax.tree.unflatten(
    structure,
    [
      np.ascontiguousarray(c).view(x.dtype).reshape(num_prompts, *x.shape[1:])
      for c, x in zip(columns, leaves, strict=True)
    ],
  )


def gather_json(value: Any) -> list[Any]:
  """Returns what each process says, by process; it is what JSON can hold."""
  if jax.process_count() == 1:
    return [value]
  text = np.frombuffer(json.dumps(value).encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.array(len(text), np.int32))
  # powers of two: few shapes, so that few graphs are compiled
  sent = np.zeros(1 << int(sizes.max() - 1).bit_length(), np.uint8)
  sent[: len(text)] = text
  texts = multihost_utils.process_allgather(sent)
  return [
    json.loads(row[:size].tobytes())
    for row, size in zip(texts, sizes, strict=True)
  ]


def any_of(flag: bool) -> bool:
  """Returns whether the flag is set in any process."""
  if jax.process_count() == 1:
    return flag
  return bool(multihost_utils.process_allgather(np.array(flag)).any())


@contextlib.contextmanager
def together() -> Iterator[None]:
  """Raises in every process what goes wrong in one.

  What is inside must not wait for other processes.

  Raises:
    ValueError: what another process says, with its number.
  """
  if jax.process_count() == 1:
    yield
    return
  error = None
  try:
    yield
  except (ValueError, OSError, RuntimeError) as raised:
    error = raised
  said = gather_json(None if error is None else str(error))
  if error is not None:
    raise error
  for process, text in enumerate(said):
    if text is not None:
      raise ValueError(f"process {process}: {text}")
