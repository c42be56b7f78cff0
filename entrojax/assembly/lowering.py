"""Lower the update of a run from shapes alone, without arrays.

The program is the one that the run compiles at its first update. It can be
compiled for devices that this machine does not have.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict as Config

from entrojax.assembly.graphs import make_update_of
from entrojax.assembly.methods import Recipe
from entrojax.assembly.model import jit_unbound
from entrojax.models import lora
from entrojax.system.sharding import by_row, param_shardings, replicated
from entrojax.types import Batch, Model
from entrojax.update.train_step import init_state


def trace_update(
  config: Config, recipe: Recipe, model: Model, mesh: Mesh
) -> Any:
  """Trace the update of one rollout batch.

  Args:
    config: a checked config.
    recipe: the run's methods.
    model: the policy.
    mesh: the devices that the update is for.

  Returns:
    What jax.jit(...).trace returns: it has the jaxpr, and can be lowered.
  """
  base, params = shapes_of_params(config, model, mesh)
  state = jax.eval_shape(
    lambda p: init_state(p, optimizer=recipe.optimizer), params
  )
  shardings = param_shardings(mesh, state)
  update: Any = jit_unbound(
    make_update_of(config, recipe, mesh),
    model,
    has_base=base is not None,
    donate_first=True,
    out_shardings=(shardings, replicated(mesh)),
  )
  return update.trace(
    *([] if base is None else [base]),
    placed(state, shardings),
    params if recipe.needs_reference else None,
    shapes_of_batch(config, mesh),
    shape_of_key(mesh),
  )


def shapes_of_params(
  config: Config, model: Model, mesh: Mesh
) -> tuple[Any, Any]:
  """Return the shapes of the frozen base and of the trained parameters.

  Without LoRA the base is None. A base has the type of the activations, as
  load_policy loads it.
  """
  base, params = jax.eval_shape(
    lambda key: lora.split(model.init(key)), jax.random.key(0)
  )
  if not config.lora.rank:
    return None, placed(base, param_shardings(mesh, base))
  dtype = jnp.dtype(config.model.dtype)
  base = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), base)
  return tuple(placed(x, param_shardings(mesh, x)) for x in (base, params))


def shapes_of_batch(config: Config, mesh: Mesh) -> Batch:
  """Return the shapes of a rollout batch."""
  rollout = config.rollout
  num_rows = rollout.num_prompts * rollout.group_size
  length = rollout.prompt_length + rollout.response_length
  tokens = shape_of_rows(mesh, (num_rows, length), "int32")
  number = shape_of_rows(mesh, (num_rows, rollout.response_length), "float32")
  return Batch(
    tokens=tokens,
    positions=tokens,
    response_mask=number,
    keep=shape_of_rows(mesh, (num_rows,), "float32"),
    old_log_probs=number,
    old_entropy=number,
    advantages=number,
    step_ok=number if config.judges else None,
  )


def shape_of_rows(mesh: Mesh, shape: tuple[int, ...], dtype: str):
  """Return the shape of an array whose rows are split over the mesh."""
  return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=by_row(mesh))


def shape_of_key(mesh: Mesh):
  """Return the shape of a random key."""
  key = jax.eval_shape(lambda: jax.random.key(0))
  return jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated(mesh))


def placed(shapes: Any, shardings: Any) -> Any:
  """Return a tree of shapes with their shardings."""
  return jax.tree.map(
    lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    shapes,
    shardings,
  )
