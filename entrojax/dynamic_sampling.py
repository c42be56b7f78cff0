"""Dynamic sampling: groups without a signal are replaced by others.

    keep a group  <=>  0 < its right responses < G

DAPO, arXiv 2503.14476, eq. 11. Only the verifier's word counts: a group whose
wrong answers differ in nothing but an overlong penalty is not kept, or it
would train on the penalty. The same policy samples batch after batch until
enough groups are kept; surplus ones are thrown away.

All of it happens on the host. What comes out has the shapes of one batch,
whatever was kept, so nothing is compiled again.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from entrojax.types import Responses, Rollout

ON_EXHAUSTED = ("train_partial", "skip_step", "raise")


class Sampled(NamedTuple):
  """A rollout batch and what is known of it, on the host."""

  rollout: Rollout  # B = Q * G rows
  responses: Responses  # [Q, G]


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
  parts: list[Sampled] = []
  seen: list[Responses] = []
  missing, num_kept = num_groups, 0
  while missing and len(seen) < max_batches:
    batch = sample(len(seen))
    signal = has_signal(batch.responses)
    if not seen:  # as many without a signal as can be missing in the end
      fillers = _take(batch, np.flatnonzero(~signal))
    chosen = np.flatnonzero(signal)[:missing]
    parts.append(_take(batch, chosen))
    seen.append(batch.responses)
    missing -= len(chosen)
    num_kept += int(signal.sum())

  num_sampled = len(seen) * num_groups
  if missing and on_exhausted == "raise":
    raise ValueError(
      f"dynamic_sampling: {num_kept} of {num_sampled} groups had right and "
      f"wrong responses, {num_groups} are needed; the problems are too hard or "
      f"too easy for the policy, or dynamic_sampling.max_batches = "
      f"{max_batches} is too small"
    )
  skipped = missing and on_exhausted == "skip_step"
  num_counted = 0 if skipped else num_groups - missing
  whole = _take(_joined([*parts, fillers]), np.arange(num_groups))
  return Refilled(
    _count_first(whole, num_counted),
    _concatenated(seen),
    {
      "dynamic_sampling/batches": float(len(seen)),
      "dynamic_sampling/kept": num_kept / num_sampled,
      "dynamic_sampling/filled": num_counted / num_groups,
    },
  )


def left_padded(rollout: Rollout, prompt_length: int, pad_id: int) -> Rollout:
  """Returns a rollout on the host whose prompts have another bucket's length.

  Batches of one update may have been read in buckets of their own.

  Args:
    rollout: with at most `prompt_length` tokens before each response.
    prompt_length: P, tokens.
    pad_id: fills the left.
  """
  length = prompt_length + rollout.response_mask.shape[1]
  missing = ((0, 0), (length - rollout.tokens.shape[1], 0))
  return dataclasses.replace(
    rollout,
    tokens=np.pad(rollout.tokens, missing, constant_values=pad_id),
    positions=np.pad(rollout.positions, missing, constant_values=-1),
  )


def _take(batch: Sampled, groups: np.ndarray) -> Sampled:
  """Returns the groups of these numbers, in this order."""
  group_size = batch.responses.rewards.shape[1]
  rows = (groups[:, None] * group_size + np.arange(group_size)).reshape(-1)
  return Sampled(
    jax.tree.map(lambda x: x[rows], batch.rollout),
    jax.tree.map(lambda x: x[groups] if x.ndim else x, batch.responses),
  )


def _joined(parts: Sequence[Sampled]) -> Sampled:
  rollouts, responses = zip(*parts, strict=True)
  return Sampled(_concatenated(rollouts), _concatenated(responses))


def _concatenated(trees):
  """Concatenates arrays of rows or groups; of scalars the first stays."""
  return jax.tree.map(
    lambda *x: np.concatenate(x) if x[0].ndim else x[0], *trees
  )


def _count_first(batch: Sampled, num_counted: int) -> Sampled:
  """Returns the batch with only the first `num_counted` groups counted."""
  rollout, responses = batch
  shape = responses.rewards.shape
  keep = np.broadcast_to(np.arange(shape[0])[:, None] < num_counted, shape)
  keep = keep.astype(np.float32)
  rows = keep.reshape(-1, 1)
  rollout = dataclasses.replace(
    rollout,
    response_mask=rollout.response_mask * rows,
    log_probs=rollout.log_probs * rows,
    entropy=rollout.entropy * rows,
  )
  num_tokens = max(rollout.response_mask.sum(), 1)
  return Sampled(
    rollout,
    dataclasses.replace(
      responses,
      lengths=np.asarray(responses.lengths) * keep,
      entropy=np.asarray(rollout.entropy.sum() / num_tokens, np.float32),
      keep=keep,
    ),
  )
