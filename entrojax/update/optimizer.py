"""The optimizer: one named optax chain that also holds the controller's state.

    control -> clip by global norm -> AdamW, plain or entropy-projected

The chain's state is a dict with the keys 'control', 'clip' and 'adamw'. The
part 'control' leaves the gradients unchanged: it only advances the controller's
state, once per optimizer step. A checkpoint holds the whole state.
`learning_rate_schedule` builds AdamW's schedule.
"""

from collections.abc import Callable, Mapping, MutableMapping
import copy
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from entrojax.arguments import require_at_least, require_in, require_one_of
from entrojax.schedules import Scheduled, at
from entrojax.types import Array, Controller, Params
from entrojax.update.projection import ProjectionState

MU_DTYPES = ("float32", "bfloat16")

# wraps an optimizer so that its finished steps are corrected
Projection = Callable[..., optax.GradientTransformationExtraArgs]


class Optimizer(NamedTuple):
  """An optax chain, and the controller whose state the chain holds."""

  init: Callable[[Params], Any]  # params -> state, with the key 'control'
  # (gradients, state, params, *, entropy f32[]) -> (updates, state); also takes
  # the keyword entropy_grad, a function () -> gradient of the entropy, if
  # `reads_entropy_gradient`, and the keyword step, i32[], if anything is
  # scheduled
  update: Callable[..., tuple[Params, Any]]
  controller: Controller | Scheduled[Controller]
  reads_entropy_gradient: bool
  scheduled: tuple[Scheduled, ...] = ()  # its parts whose numbers change
  # gradients with a larger global norm are not used; None: all are
  skip_grad_norm: float | None = None


def learning_rate_schedule(
  *, peak: float, warmup_steps: int, decay_steps: int, end_fraction: float
) -> optax.Schedule:
  """Build a linear warm-up that is followed by a cosine decay or a constant.

  Args:
    peak: the learning rate at the end of the warm-up, > 0.
    warmup_steps: the number of optimizer steps from 0 to the peak.
    decay_steps: the number of optimizer steps from the peak to the end of the
      cosine; 0 = a constant learning rate after the warm-up.
    end_fraction: the learning rate at the end of the cosine, as a fraction of
      the peak.
  """
  require_in("optimizer.learning_rate", peak, "(0, inf]")
  require_at_least("optimizer.warmup_steps", warmup_steps, 0)
  require_at_least("optimizer.decay_steps", decay_steps, 0)
  require_in("optimizer.end_fraction", end_fraction, "[0, 1]")
  warmup = optax.linear_schedule(0.0, peak, warmup_steps)
  after = (
    optax.cosine_decay_schedule(peak, decay_steps, alpha=end_fraction)
    if decay_steps
    else optax.constant_schedule(peak)
  )
  # The first step has the count 0: without the shift it would move nothing.
  schedule = optax.join_schedules([warmup, after], [warmup_steps])
  return lambda count: schedule(count + 1) if warmup_steps else after(count)


def num_counted(opt_state: Any) -> Array:
  """Return i32[]: the steps that the learning rate's schedule has counted.

  A step that is not taken leaves the optimizer's state as it is, so it does not
  count. The rate of the last step that was taken is schedule(count - 1).
  """
  state = optax.tree_utils.tree_get(opt_state["adamw"], "ScaleByScheduleState")
  return state.count


def make_optimizer(
  controller: Controller | Scheduled[Controller],
  schedule: optax.Schedule,
  *,
  b1: float,
  b2: float,
  eps: float,
  weight_decay: float,
  max_grad_norm: float,
  skip_grad_norm: float | None = None,
  mu_dtype: str = "float32",
  projection: Projection | Scheduled[Projection] | None = None,
) -> Optimizer:
  """Build the chain of controller, clipping by global norm and AdamW.

  Args:
    controller: its transform becomes the part 'control' of the chain. It reads
      the entropy that every `update` gets. Controller and projection may be
      scheduled; `update` then takes the step and uses the numbers of that step.
    schedule: optimizer steps taken so far -> learning rate.
    b1: the decay of Adam's first moment.
    b2: the decay of Adam's second moment.
    eps: the number that Adam adds to the root of the second moment.
    weight_decay: the decoupled weight decay. It spares norm scales and biases.
    max_grad_norm: gradients with a larger global norm are scaled down to it.
    skip_grad_norm: a step whose gradient has a larger global norm is skipped.
      None: no step is skipped for its finite gradient.
    mu_dtype: the type in which Adam's first moment is kept between steps; the
      arithmetic is float32. The second moment stays float32: with b2 = 0.999 a
      step adds a thousandth of a gradient's square to it, and bfloat16, which
      has 8 bits, would round that away.
    projection: a function that wraps AdamW, such as entropy_projection. The
      result gets clipped gradients and corrects AdamW's finished step. None:
      AdamW's step is left alone and no entropy gradient is needed.
  """
  require_in("optimizer.b1", b1, "[0, 1)")
  require_in("optimizer.b2", b2, "[0, 1)")
  require_in("optimizer.eps", eps, "(0, inf]")
  require_in("optimizer.max_grad_norm", max_grad_norm, "(0, inf]")
  if skip_grad_norm is not None:
    require_in("optimizer.skip_grad_norm", skip_grad_norm, "(0, inf]")
  require_at_least("optimizer.weight_decay", weight_decay, 0)
  require_one_of("optimizer.mu_dtype", mu_dtype, MU_DTYPES)
  adamw = optax.adamw(
    schedule,
    b1,
    b2,
    eps,
    # None keeps the type of the parameters: float32, or float64 in tests.
    mu_dtype=None if mu_dtype == "float32" else jnp.dtype(mu_dtype),
    weight_decay=weight_decay,
    mask=_is_matrix,
  )
  parts = (controller, projection)
  scheduled = tuple(part for part in parts if isinstance(part, Scheduled))
  control = at(controller, 0).transform
  if scheduled:
    control = _at_each_step(lambda step: at(controller, step).transform)
  last = adamw
  if isinstance(projection, Scheduled):
    last = _at_each_step(lambda step: at(projection, step)(adamw))
  elif projection is not None:
    last = projection(adamw)
  chain = optax.named_chain(
    ("control", control),
    ("clip", optax.clip_by_global_norm(max_grad_norm)),
    ("adamw", last),
  )
  has_projection = projection is not None
  return Optimizer(
    chain.init,
    chain.update,
    controller,
    has_projection,
    scheduled,
    skip_grad_norm,
  )


def keep_control(
  before: Mapping[str, Any], fresh: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
  """Return a fresh state of the optimizer with the old state of the controls.

  Args:
    before: the state whose controller and projection continue.
    fresh: the state of everything else.
  """
  kept = copy.copy(fresh)  # of the same type: the state's shardings have it too
  kept["control"] = before["control"]
  for name, state in before.items():
    if isinstance(state, ProjectionState):
      kept[name] = state._replace(inner=fresh[name].inner)
  return kept


def _at_each_step(
  make: Callable[[Any], optax.GradientTransformationExtraArgs],
) -> optax.GradientTransformationExtraArgs:
  """Build the transform that is make(step) in the update at a step.

  Its first state is the one of make(0).
  """

  def update(updates, state, params=None, *, step, **extra_args):
    return make(step).update(updates, state, params, **extra_args)

  return optax.GradientTransformationExtraArgs(
    lambda params: make(0).init(params), update
  )


def _is_matrix(params: Any) -> Any:
  """Mark the leaves that weight decay acts on: kernels and embedding tables."""

  def matrix(path, leaf):
    del leaf
    name = jax.tree_util.keystr(path)
    return "norm" not in name and "bias" not in name

  return jax.tree_util.tree_map_with_path(matrix, params)
