"""Surrogate losses of single tokens, and the ratio that most of them use.

    ratio    r = pi / pi_old, with log r clipped to +-20
    losses   -A log pi;   -A r;   -A clip(r, 1 - low, 1 + high)

The factories in other files combine these: PPO takes the larger of the last
two. Log-probs (nats), ratios and advantages come in, losses to minimise come
out, all f32[B, T]. No function here stops a gradient: `policy_loss` (loss.py)
makes old log-probs and advantages constants before an objective reads them.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from entrojax.arguments import require
from entrojax.traits import Surroundings
from entrojax.types import Array

_MAX_LOG_RATIO = 20.0  # exp(20) is finite in float32 with room for sums


def probability_ratio(log_probs: Array, old_log_probs: Array) -> Array:
  """Compute r = pi / pi_old, with its logarithm clipped to +-20."""
  log_ratio = log_probs - old_log_probs
  return jnp.exp(jnp.clip(log_ratio, -_MAX_LOG_RATIO, _MAX_LOG_RATIO))


def reinforce_loss(log_probs: Array, advantages: Array) -> Array:
  """Compute -A log pi (Williams, 1992)."""
  return -advantages * log_probs


def unclipped_loss(ratio: Array, advantages: Array) -> Array:
  """Compute -A r, PPO's surrogate before clipping."""
  return -advantages * ratio


def clipped_loss(
  ratio: Array, advantages: Array, *, clip_low: float, clip_high: float
) -> Array:
  """Compute -A clip(r, 1 - clip_low, 1 + clip_high).

  PPO (arXiv 1707.06347, eq. 7) with DAPO's decoupled range (Clip-Higher,
  arXiv 2503.14476, eq. 10).
  """
  return -advantages * jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high)


def larger_loss(plain: Array, clipped: Array) -> Array:
  """Compute max(plain, clipped), with the gradient of `plain` where equal.

  They are equal within the clip range, bounds included. A token at a bound
  therefore learns, as with torch.clamp. The gradients of jnp.maximum and
  jnp.clip would each be halved there, which matters if a bound is 1: every
  token has this ratio at the first update after a rollout.
  """
  return jnp.where(clipped > plain, clipped, plain)


def dual_clipped(
  loss: Array, advantages: Array, dual_clip: float
) -> tuple[Array, Array]:
  """Bound the loss at -A dual_clip where A < 0 (arXiv 1912.09729, eq. 5).

  Returns:
    The loss, and bool[B, T], True = the bound binds: there is no gradient.
  """
  bound = -advantages * dual_clip
  binds = (advantages < 0) & (loss > bound)
  return jnp.where(binds, bound, loss), binds


def require_dual_clip(
  name: str, dual_clip: float | None, clip_high: float
) -> None:
  """Raise ValueError if the dual clip lies within PPO's clip range.

  Args:
    name: how a user writes the setting, such as "ppo_clip.dual_clip".
    dual_clip: bound of the loss where A < 0, in units of |A|; None: no bound.
    clip_high: the ratio is clipped above at 1 + clip_high.
  """
  if dual_clip is not None:
    require(
      dual_clip > 1 + clip_high,
      f"{name} must be above 1 + clip_high = {1 + clip_high}, got {dual_clip}",
    )


def check_clip_range(
  name: str, settings: Mapping[str, Any], surroundings: Surroundings
) -> None:
  """Raise ValueError if a member and its surrogate clip differently.

  Args:
    name: the member's.
    settings: the member's; those that it shares with the surrogate are
      compared.
    surroundings: has the surrogate's clip range.
  """
  for key, bound in surroundings.clip_range.items():
    leaf = key.rpartition(".")[2]
    if leaf in settings and settings[leaf] != bound:
      raise ValueError(
        f"{name}.{leaf} = {settings[leaf]} must be {key} = {bound}"
      )
