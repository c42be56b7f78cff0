"""Sample until a batch is full of groups that carry a learning signal.

    keep a group  <=>  max_i r_i > min_i r_i  and  low <= mean_i r_i <= high

r_i is the raw reward of the group's response i. With rewards of 0 and 1, low =
0 and high = 1 the group then has between 1 and G - 1 right responses, which is
the dynamic sampling of DAPO (arXiv 2503.14476, eq. 11). With partial rewards a
group is also kept if no response is right but their rewards differ. If rules
read parts of the reward, a group is also kept if one of these parts differs,
because equal sums may hide it. Only the raw verdicts count. If all answers of a
group are wrong and only an overlong penalty tells them apart, the group is
dropped, because only the penalty would be learned. The same policy samples
batch after batch until enough groups are kept or max_batches have been sampled.
If there are still too few groups then, on_exhausted decides: train on the
groups that were kept, train on none, or raise. Groups that only fill up the
batch count nowhere in the update. Surplus groups are not trained on. The
metrics of raw rewards, lengths and the rollout's entropy include all sampled
groups.

The host chooses the groups to keep, from the verdicts. The rows stay on the
device, where the kept rows and the rows of the next batch are merged into one
batch. The shapes of this batch do not depend on how many groups were kept, so
nothing is compiled again.

The kept groups are not a random part of what the policy samples: their entropy
is usually higher than the policy's own. `with_policy_entropy` gives
whatever steers by the entropy the mean over everything sampled.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np

from entrojax.rollouts.rewards import mean_over_tokens, with_parts
from entrojax.system import hosts
from entrojax.types import Array, Responses, Rollout

ON_EXHAUSTED = ("train_partial", "skip_step", "raise")


class RolloutBatch(NamedTuple):
  """A rollout and its verified responses."""

  rollout: Rollout  # B = Q * G rows, on the device
  responses: Responses  # [Q, G], on the host


class FilledBatch(NamedTuple):
  """A batch of groups with a signal, and everything sampled to fill it."""

  batch: RolloutBatch  # Q groups
  all_responses: Responses  # [num_batches * Q, G], on the host
  metrics: dict[str, float]


def has_signal(
  responses: Responses,
  low: float = 0.0,
  high: float = 1.0,
  parts: Sequence[str] = (),
) -> np.ndarray:
  """Return bool[Q]: whether the raw verdicts of a group differ.

  Shaped rewards are ignored.

  Args:
    responses: Q groups.
    low: the smallest mean reward of a group that is kept.
    high: the largest.
    parts: names of the parts of the reward that advantage rules read. A part
      that differs is a signal as well.
  """
  correctness = np.asarray(responses.correctness, np.float64)
  mean = correctness.mean(axis=1)
  verdicts = [correctness, *(responses.parts.get(part) for part in parts)]
  differ = np.any(
    [
      np.max(verdict, axis=1) > np.min(verdict, axis=1)
      for verdict in verdicts
      if verdict is not None  # the rule that reads it raises
    ],
    axis=0,
  )
  return differ & (low <= mean) & (mean <= high)


def sample_until_filled(
  sample: Callable[[int], RolloutBatch],
  num_groups: int,
  *,
  max_batches: int,
  on_exhausted: str = "train_partial",
  low: float = 0.0,
  high: float = 1.0,
  parts: Sequence[str] = (),
) -> FilledBatch:
  """Sample batches until `num_groups` groups have a signal.

  If there are too few groups after the last batch, other groups take their
  place and count nowhere: their response_mask, lengths and keep are 0. An
  update in which no token counts changes nothing.

  Deviation: DAPO's code ends the run if there are too few groups ("raise"), and
  samples three times as many prompts as it trains on in each batch.

  Args:
    sample: maps the batch number 0, 1, ... to Q = num_groups groups. All
      batches are samples of the same policy.
    num_groups: Q.
    max_batches: at most this many batches are sampled, at least 1.
    on_exhausted: what to do if there are still too few groups: "train_partial"
      trains on the groups that were kept, "skip_step" on none, "raise" raises.
    low: the smallest mean reward of a group that is kept.
    high: the largest.
    parts: names of the parts of the reward that advantage rules read.

  Returns:
    A FilledBatch. Its batch holds the first `num_groups` groups with a signal,
    in the order sampled, and then any groups that only fill it up.

  Raises:
    ValueError: there are too few groups and on_exhausted is "raise".
  """
  batch: RolloutBatch | None = None
  responses: list[Responses] = []
  num_filled, num_kept = 0, 0
  while num_filled < num_groups and len(responses) < max_batches:
    new = sample(len(responses))
    responses.append(new.responses)
    signal = has_signal(new.responses, low, high, parts)
    num_kept += int(signal.sum())
    taken = np.flatnonzero(signal)[: num_groups - num_filled]
    if batch is None:  # `rest`: groups without a signal that fill the batch up
      batch, rest = new, np.flatnonzero(~signal)
    else:
      rest = np.arange(num_filled, num_groups)
    groups = np.concatenate([np.arange(num_filled), num_groups + taken, rest])
    batch = _merge(batch, new, groups[:num_groups])
    num_filled += len(taken)

  assert batch is not None
  missing, num_sampled = num_groups - num_filled, len(responses) * num_groups
  if missing and on_exhausted == "raise":
    raise hosts.SharedError(
      f"dynamic_sampling: {num_kept} of {num_sampled} groups had right and "
      f"wrong responses, {num_groups} are needed; the problems are too hard or "
      f"too easy for the policy, or dynamic_sampling.max_batches = "
      f"{max_batches} is too small"
    )
  skips = missing and on_exhausted == "skip_step"
  num_counted = 0 if skips else num_filled
  return FilledBatch(
    _count_first(batch, num_counted),
    dataclasses.replace(
      _concatenate(responses),
      entropy=mean_over_tokens(
        [np.asarray(r.entropy) for r in responses],
        [np.asarray(r.lengths).sum() for r in responses],
      ),
    ),
    {
      "dynamic_sampling/batches": float(len(responses)),
      "dynamic_sampling/kept": num_kept / num_sampled,
      "dynamic_sampling/filled": num_counted / num_groups,
    },
  )


def with_policy_entropy(filled: FilledBatch) -> tuple[RolloutBatch, np.ndarray]:
  """Let the batch have the entropy of everything that was sampled for it.

  Returns:
    The batch, whose responses have the entropy that rules steer by; and f32[B],
    in every row the difference between that and the batch's own entropy, in
    nats, by which an update corrects the entropy of its mini-batches.
  """
  rollout, responses = filled.batch
  policy = np.asarray(filled.all_responses.entropy, np.float32)
  offset = policy - np.asarray(responses.entropy, np.float32)
  num_rows = rollout.truncated.shape[0]
  return (
    RolloutBatch(rollout, dataclasses.replace(responses, entropy=policy)),
    np.full(num_rows, offset, np.float32),
  )


def pad_prompts(rollout: Rollout, prompt_length: int, pad_id: int) -> Rollout:
  """Pad the prompts of a rollout on the left, to the length of another bucket.

  The batches sampled for one update may have been read in different buckets.

  Args:
    rollout: with at most `prompt_length` tokens before each response.
    prompt_length: P, tokens.
    pad_id: the token to pad with.
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


def _merge(
  batch: RolloutBatch, new: RolloutBatch, groups: np.ndarray
) -> RolloutBatch:
  """Take groups of two batches; numbers from Q upwards are groups of `new`."""
  sharding = _sharding(batch.rollout)
  merge = _jit_onto(_merge_rows, sharding)
  numbers = _replicate(groups.astype(np.int32), sharding)
  both = _concatenate([batch.responses, new.responses])
  return RolloutBatch(
    merge(batch.rollout, new.rollout, numbers),
    jax.tree.map(lambda x: x[groups] if x.ndim else x, both),
  )


def _merge_rows(rollout: Rollout, new: Rollout, groups: Array) -> Rollout:
  """Take the rows of the groups i32[Q] of two rollouts."""
  group_size = rollout.truncated.shape[0] // groups.shape[0]
  rows = groups[:, None] * group_size + jnp.arange(group_size)[None]
  return jax.tree.map(
    lambda a, b: jnp.concatenate([a, b])[rows.reshape(-1)], rollout, new
  )


def _count_first(batch: RolloutBatch, num_counted: int) -> RolloutBatch:
  """Return the batch with only its first `num_counted` groups counted."""
  rollout, responses = batch
  shape = responses.rewards.shape
  keep = np.broadcast_to(np.arange(shape[0])[:, None] < num_counted, shape)
  keep = keep.astype(np.float32)
  sharding = _sharding(rollout)
  count = _jit_onto(_count_rows, sharding, None)
  rollout, entropy = count(rollout, _replicate(keep, sharding))
  return RolloutBatch(
    rollout,
    dataclasses.replace(
      responses,
      lengths=np.asarray(responses.lengths) * keep,
      entropy=np.asarray(jax.device_get(entropy)),
      keep=keep,
    ),
  )


def _count_rows(rollout: Rollout, keep: Array) -> tuple[Rollout, Array]:
  """Remove the tokens of the responses where keep f32[Q, G] is 0.

  Returns:
    The rollout, and its token-mean entropy f32[] in nats.
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
def _jit_onto(function: Callable, *shardings: Any) -> Callable:
  """Jit a function whose results get these shardings, one for each result."""
  places = shardings if len(shardings) > 1 else shardings[0]
  return jax.jit(function, out_shardings=places)


def _sharding(rollout: Rollout) -> Any:
  """Return how the rows are placed; None if they are on the host."""
  return getattr(rollout.tokens, "sharding", None)


def _replicate(array: np.ndarray, sharding: Any) -> Array:
  """Place an array on every device of the mesh, if rows are on a mesh."""
  if isinstance(sharding, NamedSharding):
    return hosts.place(array, NamedSharding(sharding.mesh, PartitionSpec()))
  return array


def _concatenate(trees: Sequence[Responses]) -> Responses:
  """Concatenate the arrays of groups; keep the first of the scalars."""
  names = {name for tree in trees for name in tree.parts}
  return jax.tree.map(
    lambda *x: np.concatenate(x) if x[0].ndim else x[0],
    *(with_parts(tree, names) for tree in trees),
  )
