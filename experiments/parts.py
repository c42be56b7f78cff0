"""Trace the parts of a rollout step from shapes alone, each by itself.

    reading    every prompt is read into a cache
    refilling  free slots take the prompts of their next samples
    decoding   one token is drawn for every slot, and read
    update     all optimizer steps on the rollout batch

A rollout runs the same functions inside its loops (rollouts/slots.py). What one
part hands to the next is placed as the loop places it: by rows, and the heads
of keys and values over the tensor axis.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict as Config

from entrojax.assembly.lowering import (
  placed,
  shape_of_key,
  shape_of_rows,
  shapes_of_params,
  trace_update,
)
from entrojax.assembly.methods import Recipe
from entrojax.assembly.model import make_sampling
from entrojax.models import lora
from entrojax.rollouts import slots as slots_lib
from entrojax.rollouts.sampler import row_keys
from entrojax.system.sharding import ROWS, num_row_shards
from entrojax.types import Model, Prompts

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


def trace(
  config: Config, recipe: Recipe, model: Model, mesh: Mesh
) -> dict[str, Callable[[], Any]]:
  """Return for each part a function that traces it.

  Args:
    config: a checked config. Without slots, its rows are decoded in as many
      slots as there are rows.
    recipe: the run's methods.
    model: the policy.
    mesh: the devices that the parts are for.
  """
  rollout = _Rollout(config, model, mesh)
  return {
    "update": lambda: trace_update(config, recipe, model, mesh),
    "reading": rollout.reading,
    "refilling": rollout.refilling,
    "decoding": rollout.decoding,
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
    return self._trace_in_loop(slots_lib.refill)

  def decoding(self) -> Any:
    """Trace one decoding step."""
    return self._trace_in_loop(slots_lib.step)

  def _trace_in_loop(self, function: Callable) -> Any:
    """Trace a function (Inputs, Slots) -> Slots that owns its slots."""
    read = jax.eval_shape(self._read, self._base, self._params, self._prompts)
    keys = jax.eval_shape(
      functools.partial(row_keys, group_size=self._sampling.group_size),
      shape_of_key(self._mesh),
      self._prompts.ids,
    )
    params = self._params
    if not self._scans:  # layers by themselves, placed by the compiler
      params = jax.eval_shape(self._policy(self._base).for_decoding, params)
    slots = jax.eval_shape(self._first_slots, read, keys)

    def run(base, params, read, keys, slots):
      return function(self._inputs(base, params, read, keys), slots)

    arguments = (self._place(x) for x in (read, keys, slots))
    return jax.jit(run, donate_argnums=4).trace(self._base, params, *arguments)

  def _read(self, base, params, prompts):
    return slots_lib.read_prompts(self._policy(base), params, prompts)

  def _first_slots(self, read, keys):
    shards = num_row_shards(self._mesh)
    return slots_lib.free_slots(
      self._inputs(None, None, read, keys),
      self._num_slots,
      shards,
      self._prompts.ids.size // shards,
    )

  def _inputs(self, base, params, read, keys) -> slots_lib.Inputs:
    """Build what the decoding loop reads."""
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
  and heads; other arrays by rows, their first axis.
  """
  if "layers" in jax.tree_util.keystr(path):
    before = [None] * (len(leaf.shape) - 4)
    heads = leaf.shape[-3] % mesh.shape["tensor"] == 0
    spec = PartitionSpec(*before, *ROWS, "tensor" if heads else None)
  else:
    spec = ROWS if leaf.shape else PartitionSpec()
  return NamedSharding(mesh, spec)
