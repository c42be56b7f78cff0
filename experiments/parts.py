"""Trace the parts of a rollout step from shapes alone, each by itself.

    reading    every prompt is read into a cache
    refilling  free slots take the prompts of their next samples
    decoding   one token is drawn for every slot, and read
    update     all optimizer steps on the rollout batch

A rollout runs the same functions inside its loops (rollouts/slots.py, or
rollouts/sampler.py if there is a slot for every response, so that none is
refilled). What one part hands to the next is placed as the loop places it: by
rows, and the heads of keys and values over the tensor axis.

A decoding step reads only the filled part of the cache. It is compiled for
several lengths (models/cached_attention.py); its cost is the mean over the
steps of a rollout.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict as Config
import numpy as np

from entrojax.assembly.lowering import (
  placed,
  shape_of_key,
  shape_of_rows,
  shapes_of_params,
  trace_update,
)
from entrojax.assembly.methods import Recipe
from entrojax.assembly.model import make_sampling
from entrojax.models import cached_attention, lora
from entrojax.rollouts import sampler
from entrojax.rollouts import slots as slots_lib
from entrojax.system.sharding import ROWS, num_row_shards
from entrojax.types import Model, Prompts
from experiments import step_time
from experiments.measured import Part

PARTS = {
  "update": "update, of one rollout batch",
  "reading": "reading all prompts",
  "refilling": "refilling slots, once",
  "decoding": "decoding, one step",
}


class _Ends(NamedTuple):
  """The part of a tokenizer that decoding needs."""

  eos_ids: tuple[int, ...] = (1,)
  pad_id: int = 0


def names(config: Config) -> set[str]:
  """Return the parts of a run's rollout step."""
  refills = not step_time.has_slot_for_all(config)
  return {name for name in PARTS if refills or name != "refilling"}


def parts_of_step(
  config: Config,
  recipe: Recipe,
  model: Model,
  mesh: Mesh,
  mean_length: float,
) -> dict[str, Part]:
  """Return the parts of a run's rollout step, by name.

  Args:
    config: a checked config.
    recipe: the run's methods.
    model: the policy.
    mesh: the devices that the parts are for.
    mean_length: the mean length of a response, tokens.
  """
  rollout = _Rollout(config, model, mesh)
  filled = step_time.filling(config, mean_length)
  parts = {
    "update": Part(
      lambda: trace_update(config, recipe, model, mesh),
      step_time.bucket_shares(config, mesh, mean_length),
    ),
    "reading": Part(rollout.reading),
  }
  if step_time.has_slot_for_all(config):
    return parts | {"decoding": rollout.decoding_all(filled)}
  return parts | {
    "refilling": Part(rollout.refilling),
    "decoding": rollout.decoding(filled),
  }


class _Rollout:
  """The shapes that the parts of a rollout hand to each other."""

  def __init__(self, config: Config, model: Model, mesh: Mesh):
    """Prepare the parts; see `trace` for the arguments."""
    rollout = config.rollout
    self._mesh, self._model = mesh, model
    self._scans = config.model.scan_layers
    self._base, self._params = shapes_of_params(config, model, mesh)
    shape = (rollout.num_prompts, rollout.prompt_length)
    self._prompts = Prompts(
      tokens=shape_of_rows(mesh, shape, "int32"),
      mask=shape_of_rows(mesh, shape, "float32"),
      ids=shape_of_rows(mesh, shape[:1], "int32"),
    )
    self._sampling = make_sampling(config, _Ends(), rollout, rollout.group_size)
    rows = rollout.num_prompts * rollout.group_size
    self._num_slots = min(rollout.num_slots or rows, rows)

  def reading(self) -> Any:
    """Trace the reading of all prompts."""
    return jax.jit(self._read).trace(self._base, self._params, self._prompts)

  def refilling(self) -> Any:
    """Trace a refill of the free slots."""
    return self._trace_in_slots(slots_lib.refill)

  def decoding(self, filled: np.ndarray) -> Part:
    """Return one decoding step in slots.

    Args:
      filled: i64[steps], the filled places of the cache at each step.
    """
    cache = self._first_slots(*self._read_shapes()).cache
    trace = functools.partial(self._trace_in_slots, slots_lib.step)
    return self._reading_a_part(trace, cache, filled)

  def decoding_all(self, filled: np.ndarray) -> Part:
    """Return one decoding step of all rows; see `decoding`."""
    is_kept = sampler.keeps_prompts(self._prompts.tokens.shape[1])
    room = 0 if is_kept else self._sampling.response_length
    read, keys = self._read_shapes(room)

    def first(base, params, read):
      return sampler.first_state(
        self._policy(base), params, read, self._sampling, is_kept
      )

    state = jax.eval_shape(first, self._base, self._params, read)

    def run(base, params, keys, state):
      inputs = sampler.Inputs(self._policy(base), params, keys, self._sampling)
      return sampler.step(inputs, state)

    def trace():
      return jax.jit(run, donate_argnums=3).trace(
        self._base, self._for_decoding(), self._place(keys), self._place(state)
      )

    return self._reading_a_part(trace, state.cache, filled)

  def _reading_a_part(
    self, trace: Callable[[], Any], cache: Any, filled: np.ndarray
  ) -> Part:
    """Return a decoding step; in a scan, its layers read only what is filled.

    Args:
      trace: traces the step.
      cache: the shapes of its cache.
      filled: i64[steps], the filled places of a row at each step.
    """
    if not self._scans:
      return Part(trace)
    places = cache.positions.shape[1]
    lengths = np.asarray(cached_attention.lengths(places))
    number = np.searchsorted(lengths, filled)
    shares = np.bincount(number, minlength=len(lengths)) / len(filled)
    sizes = [x.size * jnp.dtype(x.dtype).itemsize for x in cache.layers]
    read = float(np.mean(filled) / places)
    return Part(trace, tuple(shares.tolist()), sum(sizes) * (1 - read))

  def _trace_in_slots(self, function: Callable) -> Any:
    """Trace a function (Inputs, Slots) -> Slots that owns its slots."""
    read, keys = self._read_shapes()
    slots = self._first_slots(read, keys)

    def run(base, params, read, keys, slots):
      return function(self._inputs(base, params, read, keys), slots)

    arguments = (self._place(x) for x in (read, keys, slots))
    return jax.jit(run, donate_argnums=4).trace(
      self._base, self._for_decoding(), *arguments
    )

  def _for_decoding(self) -> Any:
    """Return the shapes of the parameters as a decoding loop reads them."""
    if self._scans:
      return self._params
    # layers by themselves, placed by the compiler
    policy = self._policy(self._base)
    return jax.eval_shape(policy.for_decoding, self._params)

  def _read_shapes(self, room: int = 0) -> tuple[Any, Any]:
    """Return the shapes of the prompts that were read, and of the rows' keys.

    Args:
      room: places of the cache behind each prompt.
    """
    read = jax.eval_shape(
      functools.partial(self._read, room=room),
      self._base,
      self._params,
      self._prompts,
    )
    keys = jax.eval_shape(
      functools.partial(sampler.row_keys, group_size=self._sampling.group_size),
      shape_of_key(self._mesh),
      self._prompts.ids,
    )
    return read, keys

  def _read(self, base, params, prompts, room=0):
    return sampler.read_prompts(self._policy(base), params, prompts, room)

  def _first_slots(self, read, keys):
    """Return the shapes of the state before the first step in slots."""
    shards = num_row_shards(self._mesh)

    def first(read, keys):
      return slots_lib.free_slots(
        self._inputs(None, None, read, keys),
        self._num_slots,
        shards,
        self._prompts.ids.size // shards,
      )

    return jax.eval_shape(first, read, keys)

  def _inputs(self, base, params, read, keys) -> slots_lib.Inputs:
    """Build what the decoding loop in slots reads."""
    length = self._prompts.tokens.shape[1]
    policy = self._policy(base)
    return slots_lib.Inputs(policy, params, read, keys, length, self._sampling)

  def _policy(self, base: Any) -> Model:
    return self._model if base is None else lora.on_base(self._model, base)

  def _place(self, shapes: Any) -> Any:
    """Return shapes with the placement that they have in the loop."""
    place = functools.partial(_placement, self._mesh)
    return placed(shapes, jax.tree_util.tree_map_with_path(place, shapes))


def _placement(mesh: Mesh, path: Any, leaf: Any) -> NamedSharding:
  """Return where an array of the loop lies.

  Keys and values, f[..., B, K, C, S] or f[..., B, K, S, C], are split by rows
  and heads; what all rows have sampled, [T, B], by its second axis, and other
  arrays by their first.
  """
  path = jax.tree_util.keystr(path)
  if "layers" in path:
    before = [None] * (len(leaf.shape) - 4)
    heads = leaf.shape[-3] % mesh.shape["tensor"] == 0
    spec = PartitionSpec(*before, *ROWS, "tensor" if heads else None)
  elif "outputs" in path and len(leaf.shape) == 2:  # [T, B]
    spec = PartitionSpec(None, *ROWS)
  else:
    spec = ROWS if leaf.shape else PartitionSpec()
  return NamedSharding(mesh, spec)
