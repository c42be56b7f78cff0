"""Decide whether an optimizer step may be taken, and name what rules it out.

    sound  <=>  the loss, |gradient| and |update| are finite, and
                |gradient| <= skip_grad_norm

|.| is the global L2 norm, the one that the metrics report, so no array is read
again. A step that is not sound is skipped (`_advance` in train_step.py). Since
|update| is finite in every step that is taken, parameters stay finite.

`unsound_tensors` marks the tensors of the gradient that are not finite. The
marks are a metric, which `split_marks` takes out again on the host, so that
they are not logged.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from entrojax.types import Array, Mean, Metrics, Params

SKIPPED = "actor/skipped"  # share of optimizer steps that were skipped
IDLE = "actor/idle"  # share of optimizer steps without a gradient
_MARKS = "actor/unsound_tensors"
SOUNDNESS = (SKIPPED, _MARKS)  # the metrics a skipped step is read from


class Marks(NamedTuple):
  """What a rollout step says about its skipped optimizer steps."""

  skipped: int  # the number of optimizer steps that were skipped
  tensors: np.ndarray  # f32[leaves], > 0 = not finite, in the order of a tree


def is_sound(
  loss: Array, grads: Params, updates: Params, skip_grad_norm: float | None
) -> Array:
  """Return bool[]: whether an optimizer step may be taken.

  Args:
    loss: f32[].
    grads: the gradient, before clipping.
    updates: what the optimizer would add to the parameters.
    skip_grad_norm: the largest norm of a gradient that is used; None: no limit.
  """
  norm = optax.global_norm(grads)
  sound = jnp.isfinite(loss) & jnp.isfinite(norm)
  sound &= jnp.isfinite(optax.global_norm(updates))
  return sound if skip_grad_norm is None else sound & (norm <= skip_grad_norm)


def step_soundness(counted: Array, sound: Array, grads: Params) -> Metrics:
  """Return the metrics that say what an optimizer step was worth.

  Args:
    counted: bool[], whether a token counted in the loss.
    sound: bool[], the result of `is_sound`.
    grads: the gradient, before clipping.
  """
  skipped = counted & ~sound
  idle = ~counted | (optax.global_norm(grads) == 0)
  marks = [~jnp.isfinite(optax.global_norm(x)) for x in jax.tree.leaves(grads)]
  one = jnp.float32(1.0)
  return {
    SKIPPED: Mean(skipped.astype(jnp.float32), one),
    IDLE: Mean(idle.astype(jnp.float32), one),
    _MARKS: Mean((jnp.stack(marks) & skipped).astype(jnp.float32), one),
  }


def split_marks(
  metrics: Mapping[str, Mean],
) -> tuple[Marks | None, dict[str, Mean]]:
  """Take the marks out of the metrics of an update.

  Returns:
    The marks, None if no optimizer step was skipped; and the other metrics.
  """
  others = {name: mean for name, mean in metrics.items() if name != _MARKS}
  if SKIPPED not in metrics:
    return None, others
  skipped = int(jax.device_get(metrics[SKIPPED].total))
  if not skipped:
    return None, others
  return Marks(skipped, jax.device_get(metrics[_MARKS].total)), others


def tensor_names(params: Params, marks: Marks) -> list[str]:
  """Return the names of the marked tensors, as in layers/q_proj."""
  paths = [
    jax.tree_util.keystr(path, simple=True, separator="/")
    for path, _ in jax.tree_util.tree_leaves_with_path(params)
  ]
  return [p for p, mark in zip(paths, marks.tensors, strict=True) if mark > 0]
