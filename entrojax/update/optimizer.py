"""The optimizer: one named optax chain, the controller's state inside it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from entrojax.types import Controller

MU_DTYPES = ("float32", "bfloat16")


def learning_rate_schedule(
  *, peak: float, warmup_steps: int, decay_steps: int, end_fraction: float
) -> optax.Schedule:
  """Makes a linear warm-up, then a cosine decay or a constant.

  Args:
    peak: the learning rate after the warm-up.
    warmup_steps: optimizer steps from 0 to the peak.
    decay_steps: optimizer steps from the peak to its end; 0 = constant.
    end_fraction: what the cosine ends at, as a fraction of the peak.
  """
  if not peak > 0:
    raise ValueError(f"optimizer.learning_rate must be above 0, got {peak}")
  for name, value in (
    ("warmup_steps", warmup_steps),
    ("decay_steps", decay_steps),
    ("end_fraction", end_fraction),
  ):
    if value < 0:
      raise ValueError(f"optimizer.{name} must not be negative, got {value}")
  warmup = optax.linear_schedule(0.0, peak, warmup_steps)
  after = (
    optax.cosine_decay_schedule(peak, decay_steps, alpha=end_fraction)
    if decay_steps
    else optax.constant_schedule(peak)
  )
  # The first step is update 0: without the shift it would move nothing.
  schedule = optax.join_schedules([warmup, after], [warmup_steps])
  return lambda count: schedule(count + 1) if warmup_steps else after(count)


def make_optimizer(
  controller: Controller,
  schedule: optax.Schedule,
  *,
  b1: float,
  b2: float,
  eps: float,
  weight_decay: float,
  max_grad_norm: float,
  mu_dtype: str = "float32",
  wrap: Callable[..., optax.GradientTransformationExtraArgs] | None = None,
) -> optax.GradientTransformationExtraArgs:
  """Makes the chain: control, clip by global norm, AdamW.

  Its `update` takes the keyword `entropy` f32[], which the controller takes in.
  Weight decay spares vectors: norm scales and biases. `wrap` makes AdamW into
  what takes its place, such as entropy_projection: it sees clipped gradients
  and AdamW's finished step.

  `mu_dtype` is how Adam's first moment is kept between steps; the arithmetic is
  float32. The second moment stays float32: with b2 = 0.999 a step adds a
  thousandth of a gradient's square to it, and bfloat16, which has 8 bits, would
  round that away.
  """
  for name, value in (("b1", b1), ("b2", b2)):
    if not 0 <= value < 1:
      raise ValueError(f"optimizer.{name} must lie in [0, 1), got {value}")
  for name, value in (("eps", eps), ("max_grad_norm", max_grad_norm)):
    if not value > 0:
      raise ValueError(f"optimizer.{name} must be above 0, got {value}")
  if weight_decay < 0:
    raise ValueError(
      f"optimizer.weight_decay must not be negative, got {weight_decay}"
    )
  if mu_dtype not in MU_DTYPES:
    raise ValueError(
      f"optimizer.mu_dtype must be one of {MU_DTYPES}, got {mu_dtype!r}"
    )
  adamw = optax.adamw(
    schedule,
    b1,
    b2,
    eps,
    # float32 is what parameters have; tests in float64 keep theirs
    mu_dtype=None if mu_dtype == "float32" else jnp.dtype(mu_dtype),
    weight_decay=weight_decay,
    mask=_is_matrix,
  )
  return optax.named_chain(
    ("control", controller.transform),
    ("clip", optax.clip_by_global_norm(max_grad_norm)),
    ("adamw", wrap(adamw) if wrap else adamw),
  )


def _is_matrix(params: Any) -> Any:
  """Marks what weight decay acts on: kernels and embedding tables."""

  def matrix(path, leaf):
    del leaf
    name = jax.tree_util.keystr(path)
    return "norm" not in name and "bias" not in name

  return jax.tree_util.tree_map_with_path(matrix, params)
