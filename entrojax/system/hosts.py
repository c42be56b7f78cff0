"""Run one program in several processes, each with its own devices.

All processes read the same config and the same prompts, and take the same
steps. A global array is spread over the devices of all processes, and each
process can read only the parts on its own devices. Therefore each process
copies to the host, decodes and verifies the responses to its own prompts only.
It then sends the results to the others: a few numbers per response in training,
the texts and verdicts in an evaluation. Afterwards all processes hold the same
results and make the same decisions. The first process writes the metrics and
files of the run, except the checkpoints, which all processes write together.

With a single process, nothing is sent to another one. `place`, `own_rows` and
`whole` then only move arrays between the host and its devices.
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

from entrojax.system import signs_of_life
from entrojax.system.failure import failure


def initialize(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> None:
  """Join the other processes. Call this before anything else of JAX.

  Args:
    coordinator: the host:port of the first process. None on a TPU pod, Slurm or
      GKE: JAX then reads it and the other arguments from the environment.
    num_processes: the number of processes.
    process_id: the number of this process, from 0.

  Raises:
    ValueError: the environment does not name the other processes.
    RuntimeError: the other processes cannot be reached.
  """
  on_cpu = os.environ.get("JAX_PLATFORMS", "").startswith("cpu")
  if on_cpu:
    # With several threads, XLA may start the sums of a loop and the sums after
    # it in a different order in each process. gloo needs the same order.
    os.environ["NPROC"] = "1"
  jax.distributed.initialize(coordinator, num_processes, process_id)
  if jax.default_backend() == "cpu" and not on_cpu:
    raise ValueError(
      "several processes on CPUs need JAX_PLATFORMS=cpu in the environment"
    )
  signs_of_life.watch()


def is_first() -> bool:
  """Return True in the process that writes the metrics and files of the run."""
  return jax.process_index() == 0


class SharedError(ValueError):
  """An error that all processes raise at the same place, from the same data.

  After it they can still work together, for example save a checkpoint.
  """


class Share(NamedTuple):
  """Which process verifies which prompts of a batch."""

  owners: np.ndarray  # i64[Q], the process that verifies each prompt
  fallback: np.ndarray  # i64[1], a prompt on the devices of this process

  def of(self, process: int) -> np.ndarray:
    """Return the numbers of a process's prompts, ascending."""
    return np.flatnonzero(self.owners == process)

  @property
  def mine(self) -> np.ndarray:
    """The numbers of this process's prompts."""
    return self.of(jax.process_index())

  @property
  def held(self) -> np.ndarray:
    """The prompts to work on: `mine`, or the fallback if there are none.

    They are never empty, so that no array has an axis of length 0.
    """
    return self.mine if self.mine.size else self.fallback


def share(rows: Any, num_prompts: int) -> Share:
  """Share out the prompts of a batch among the processes that hold them.

  Args:
    rows: an array [Q * G, ...] of responses, in which the responses to a prompt
      are neighbours. Its sharding determines which processes hold a prompt.
    num_prompts: Q, a multiple of the number of parts that the mesh splits rows
      into.
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
  fallback = np.empty(0, int)
  for turn, (part, processes) in enumerate(sorted(holders.items())):
    # Rotate the processes from part to part, so that the longer pieces do not
    # all go to the same process.
    order = np.roll(sorted(processes), turn)
    pieces = np.array_split(np.arange(*part), len(order))
    for process, piece in zip(order, pieces, strict=True):
      owners[piece] = process
    if here in processes:
      fallback = np.array(part[:1])
  return Share(owners, fallback)


def place(tree: Any, sharding: Sharding) -> Any:
  """Place arrays that every process holds on the devices of all processes.

  Each process copies to its own devices only the parts that belong there.

  Args:
    tree: numpy arrays, keys, or arrays that are already on devices.
    sharding: where each of the arrays is placed.
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
  """Copy the rows of some prompts to the host.

  Args:
    tree: arrays [Q * G, ...], split over the mesh or not.
    prompts: i64[q], numbers of prompts on the devices of this process.
    num_prompts: Q of the whole batch.

  Returns:
    The tree of numpy arrays [q * G, ...].
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
  """Copy whole arrays to the host, on whichever devices their parts are."""
  if jax.process_count() == 1:
    return jax.device_get(tree)
  return multihost_utils.process_allgather(tree, tiled=True)


def gather(tree: Any, shared: Share) -> Any:
  """Collect the numbers that each process computed for its own prompts.

  Args:
    tree: numpy arrays [q, ...] with 4 bytes per element. Row i belongs to the
      prompt `shared.held[i]`.
    shared: which process has which prompts.

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
  padded = np.zeros((counts.max(), mine.shape[1]), np.uint32)
  padded[: len(mine)] = mine
  all_words = np.empty((num_prompts, mine.shape[1]), np.uint32)
  for process, part in enumerate(multihost_utils.process_allgather(padded)):
    all_words[shared.of(process)] = part[: counts[process]]
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
  """Collect a value, as JSON can hold it, from each process, in order."""
  if jax.process_count() == 1:
    return [value]
  text = np.frombuffer(json.dumps(value).encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.array(len(text), np.int32))
  # Lengths are powers of two: with few shapes, few graphs are compiled.
  padded = np.zeros(1 << int(sizes.max() - 1).bit_length(), np.uint8)
  padded[: len(text)] = text
  texts = multihost_utils.process_allgather(padded)
  return [
    json.loads(row[:size].tobytes())
    for row, size in zip(texts, sizes, strict=True)
  ]


def any_of(flag: bool) -> bool:
  """Return True if the flag is set in at least one process."""
  if jax.process_count() == 1:
    return flag
  return bool(multihost_utils.process_allgather(np.array(flag)).any())


@contextlib.contextmanager
def telling() -> Iterator[None]:
  """Tell the other processes at once if an error leaves this context.

  They end, unless all raise the error, and need not wait until this process has
  closed what it holds, for which it may need them.
  """
  try:
    yield
  except SharedError:
    raise
  except Exception as error:
    if jax.process_count() > 1:
      failure.note(error, 1)
    raise


@contextlib.contextmanager
def together(
  kind: type[Exception] = ValueError, *, alone: bool = False
) -> Iterator[None]:
  """Raise an error in every process if one of them fails inside this context.

  The code inside must not wait for other processes.

  Args:
    kind: an error that all processes raise if one of them raises it. All raise
      a ValueError if one raises another ValueError, OSError or RuntimeError.
    alone: whether this process runs the code without the others.

  Raises:
    ValueError: another process failed; the message has its number and its
      error. A process that fails itself raises its own error.
  """
  if alone or jax.process_count() == 1:
    yield
    return
  error = None
  try:
    yield
  except (ValueError, OSError, RuntimeError, kind) as raised:
    error = raised
  message = None if error is None else str(error)
  failures = gather_json([message, isinstance(error, kind)])
  if error is not None:
    raise error
  for process, (message, is_kind) in enumerate(failures):
    if message is not None:
      other = kind if is_kind else ValueError
      raise other(f"process {process}: {message}")
