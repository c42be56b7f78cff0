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
  batch: Sampled | None = None
  seen: list[Responses] = []
  num_filled, num_kept = 0, 0
  while num_filled < num_groups and len(seen) < max_batches:
    new = sample(len(seen))
    seen.append(new.responses)
    signal = has_signal(new.responses)
    num_kept += int(signal.sum())
    chosen = np.flatnonzero(signal)[: num_groups - num_filled]
    if batch is None:  # as many without a signal as can be missing in the end
      batch, rest = new, np.flatnonzero(~signal)
    else:
      rest = np.arange(num_filled, num_groups)
    places = np.concatenate([np.arange(num_filled), num_groups + chosen, rest])
    batch = _merged(batch, new, places[:num_groups])
    num_filled += len(chosen)

  assert batch is not None
  missing, num_sampled = num_groups - num_filled, len(seen) * num_groups
  if missing and on_exhausted == "raise":
    raise ValueError(
      f"dynamic_sampling: {num_kept} of {num_sampled} groups had right and "
      f"wrong responses, {num_groups} are needed; the problems are too hard or "
      f"too easy for the policy, or dynamic_sampling.max_batches = "
      f"{max_batches} is too small"
    )
  skipped = missing and on_exhausted == "skip_step"
  num_counted = 0 if skipped else num_filled
  return Refilled(
    _count_first(batch, num_counted),
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


def _merged(batch: Sampled, new: Sampled, groups: np.ndarray) -> Sampled:
  """Returns groups of two batches: of `new` numbers Q and above."""
  merge = _on_device(_merge_rows, _sharding(batch.rollout))
  both = _concatenated([batch.responses, new.responses])
  return Sampled(
    merge(batch.rollout, new.rollout, groups.astype(np.int32)),
    jax.tree.map(lambda x: x[groups] if x.ndim else x, both),
  )


def _merge_rows(rollout: Rollout, new: Rollout, groups: Array) -> Rollout:
  """Returns the rows of the groups i32[Q] of two rollouts."""
  group_size = rollout.truncated.shape[0] // groups.shape[0]
  rows = groups[:, None] * group_size + jnp.arange(group_size)[None]
  return jax.tree.map(
    lambda a, b: jnp.concatenate([a, b])[rows.reshape(-1)], rollout, new
  )


def _count_first(batch: Sampled, num_counted: int) -> Sampled:
  """Returns the batch with only the first `num_counted` groups counted."""
  rollout, responses = batch
  shape = responses.rewards.shape
  keep = np.broadcast_to(np.arange(shape[0])[:, None] < num_counted, shape)
  keep = keep.astype(np.float32)
  count = _on_device(_count_rows, _sharding(rollout), None)
  rollout, entropy = count(rollout, keep)
  return Sampled(
    rollout,
    dataclasses.replace(
      responses,
      lengths=np.asarray(responses.lengths) * keep,
      entropy=np.asarray(entropy),
      keep=keep,
    ),
  )


def _count_rows(rollout: Rollout, keep: Array) -> tuple[Rollout, Array]:
  """Returns the rollout without tokens where keep f32[Q, G] is 0.

  And its token-mean entropy, f32[], nats.
  """
  rows = keep.reshape(-1, 1)
  rollout = dataclasses.replace(
    rollout,
    response_mask=rollout.response_mask * rows,
    log_probs=rollout.log_probs * rows,
    entropy=rollout.entropy * rows,
  )
  total, count = (
    jnp.sum(jnp.sum(x, axis=1))
    for x in (rollout.entropy, rollout.response_mask)
  )
  return rollout, total / jnp.maximum(count, 1)


@functools.cache
def _on_device(function: Callable, *shardings: Any) -> Callable:
  """Returns the function, jitted, with its results placed so."""
  places = shardings if len(shardings) > 1 else shardings[0]
  return jax.jit(function, out_shardings=places)


def _sharding(rollout: Rollout) -> Any:
  """Returns how rows are placed; None of arrays on the host."""
  return getattr(rollout.tokens, "sharding", None)


def _concatenated(trees: Sequence[Responses]) -> Responses:
  """Concatenates arrays of groups; of scalars the first stays."""
  return jax.tree.map(
    lambda *x: np.concatenate(x) if x[0].ndim else x[0], *trees
  )
