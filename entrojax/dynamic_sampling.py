"""Dynamic sampling: groups without a signal are replaced by others.

    keep a group  <=>  0 < its right responses < G

DAPO, arXiv 2503.14476, eq. 11. Only the verifier's word counts: a group whose
wrong answers differ in nothing but an overlong penalty is not kept, or it
would train on the penalty. The same policy samples batch after batch until
enough groups are kept; surplus ones are thrown away.

The host decides, from the verdicts; the rows stay on the device, where those
that are kept and those of a new batch become one batch. It has the same shapes
whatever was kept, so nothing is compiled again.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.types import Array, Responses, Rollout

ON_EXHAUSTED = ("train_partial", "skip_step", "raise")


class Sampled(NamedTuple):
  """A rollout batch and what is known of it."""

  rollout: Rollout  # B = Q * G rows, on the device
  responses: Responses  # [Q, G], on the host


class Refilled(NamedTuple):
  """A batch of groups with a signal, and what was sampled for it."""

  batch: Sampled  # Q groups
  everything: Responses  # [num_batches * Q, G]
  metrics: dict[str, float]


def has_signal(responses: Responses) -> np.ndarray:
  """Returns bool[Q]: groups whose raw verdicts are not all the same.

  Shaped rewards are not looked at.
  """
  correctness = np.asarray(responses.correctness)
  return correctness.max(axis=1) > correctness.min(axis=1)


def refill(
  sample: Callable[[int], Sampled],
  num_groups: int,
  *,
  max_batches: int,
  on_exhausted: str = "train_partial",
) -> Refilled:
  """Samples until `num_groups` groups have a signal.

  Where groups are still missing after the last batch, others take their place
  that count nowhere: response_mask, lengths and keep are 0. An update of which
  no token counts changes nothing.

  Deviation: DAPO's code ends the run where groups are missing ("raise"), and
  samples three times as many prompts as it trains on in each batch.

  Args:
    sample: batch number 0, 1, ... -> Q = num_groups groups of one policy.
    num_groups: Q.
    max_batches: the most batches to sample, at least 1.
    on_exhausted: what if groups are missing then: "train_partial" trains on
      those that were kept, "skip_step" on none, "raise" raises.

  Returns:
    The first `num_groups` groups with a signal, in the order sampled.

  Raises:
    ValueError: groups are missing and `on_exhausted` is "raise".
  """
  rollout, entropy = None, None
  parts: list[Responses] = []
  seen: list[Responses] = []
  num_filled, num_kept, num_counted = 0, 0, 0
  while num_filled < num_groups and len(seen) < max_batches:
    new = sample(len(seen))
    seen.append(new.responses)
    signal = has_signal(new.responses)
    num_kept += int(signal.sum())
    chosen = np.flatnonzero(signal)[: num_groups - num_filled]
    if rollout is None:  # the rest are as many as can be missing in the end
      rollout, rest = new.rollout, np.flatnonzero(~signal)
      fillers = _take(new.responses, rest)
    else:
      rest = np.arange(num_filled, num_groups)
    places = np.concatenate([np.arange(num_filled), num_groups + chosen, rest])
    parts.append(_take(new.responses, chosen))
    num_filled += len(chosen)
    skips = on_exhausted == "skip_step" and len(seen) == max_batches
    whole = num_filled == num_groups
    num_counted = 0 if skips and not whole else num_filled
    rollout, entropy = _merger(_sharding(rollout))(
      rollout,
      new.rollout,
      places[:num_groups].astype(np.int32),
      (np.arange(num_groups) < num_counted).astype(np.float32),
    )

  num_sampled = len(seen) * num_groups
  if num_filled < num_groups and on_exhausted == "raise":
    raise ValueError(
      f"dynamic_sampling: {num_kept} of {num_sampled} groups had right and "
      f"wrong responses, {num_groups} are needed; the problems are too hard or "
      f"too easy for the policy, or dynamic_sampling.max_batches = "
      f"{max_batches} is too small"
    )
  responses = _take(_concatenated([*parts, fillers]), np.arange(num_groups))
  return Refilled(
    Sampled(rollout, _count_first(responses, num_counted, entropy)),
    _concatenated(seen),
    {
      "dynamic_sampling/batches": float(len(seen)),
      "dynamic_sampling/kept": num_kept / num_sampled,
      "dynamic_sampling/filled": num_counted / num_groups,
    },
  )


def left_padded(rollout: Rollout, prompt_length: int, pad_id: int) -> Rollout:
  """Returns a rollout whose prompts have another bucket's length.

  Batches of one update may have been read in buckets of their own.

  Args:
    rollout: with at most `prompt_length` tokens before each response.
    prompt_length: P, tokens.
    pad_id: fills the left.
  """
  length = prompt_length + rollout.response_mask.shape[1]
  missing = length - rollout.tokens.shape[1]
  return _pad(rollout, missing, pad_id) if missing else rollout


@functools.partial(jax.jit, static_argnums=(1, 2))
def _pad(rollout: Rollout, missing: int, pad_id: int) -> Rollout:
  left = functools.partial(jnp.pad, pad_width=((0, 0), (missing, 0)))
  return dataclasses.replace(
    rollout,
    tokens=left(rollout.tokens, constant_values=pad_id),
    positions=left(rollout.positions, constant_values=-1),
  )


def _take(responses: Responses, groups: np.ndarray) -> Responses:
  """Returns the groups of these numbers, in this order."""
  return jax.tree.map(lambda x: x[groups] if x.ndim else x, responses)


def _concatenated(trees: Sequence[Responses]) -> Responses:
  """Concatenates arrays of groups; of scalars the first stays."""
  return jax.tree.map(
    lambda *x: np.concatenate(x) if x[0].ndim else x[0], *trees
  )


def _count_first(
  responses: Responses, num_counted: int, entropy: Array
) -> Responses:
  """Returns the responses with only the first `num_counted` groups counted."""
  shape = responses.rewards.shape
  keep = np.broadcast_to(np.arange(shape[0])[:, None] < num_counted, shape)
  keep = keep.astype(np.float32)
  return dataclasses.replace(
    responses,
    lengths=np.asarray(responses.lengths) * keep,
    entropy=np.asarray(entropy),
    keep=keep,
  )


def _merge(
  kept: Rollout, new: Rollout, groups: Array, counts: Array
) -> tuple[Rollout, Array]:
  """Returns the groups of these numbers, and the token-mean entropy.

  Args:
    kept: Q groups, numbers 0 to Q - 1.
    new: Q others, numbers Q to 2 Q - 1.
    groups: i32[Q].
    counts: f32[Q], 0 = the group fills the batch up and has no token.
  """
  group_size = kept.truncated.shape[0] // groups.shape[0]
  rows = groups[:, None] * group_size + jnp.arange(group_size)
  take = lambda a, b: jnp.concatenate([a, b])[rows.reshape(-1)]
  rollout = jax.tree.map(take, kept, new)
  counted = jnp.repeat(counts, group_size)[:, None]
  rollout = dataclasses.replace(
    rollout,
    response_mask=rollout.response_mask * counted,
    log_probs=rollout.log_probs * counted,
    entropy=rollout.entropy * counted,
  )
  total, count = (
    jnp.sum(jnp.sum(x, axis=1))
    for x in (rollout.entropy, rollout.response_mask)
  )
  return rollout, total / jnp.maximum(count, 1)


@functools.cache
def _merger(sharding: Any) -> Callable[..., tuple[Rollout, Array]]:
  """Returns `_merge`, jitted, whose rollout is placed so."""
  return jax.jit(_merge, out_shardings=(sharding, None))


def _sharding(rollout: Rollout) -> Any:
  """Returns how rows are placed; None of arrays on the host."""
  return getattr(rollout.tokens, "sharding", None)
