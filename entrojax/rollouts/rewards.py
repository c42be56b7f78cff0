"""Decode, verify and measure responses, and group them for advantage rules.

Everything here runs on the host, on numpy arrays and text. The responses to one
problem are neighbours: row q * G + g is response g to problem q. With several
processes, each verifies its own rows, and `gather_responses` gives every
process the responses of all. `reward_metrics` computes the metrics of rewards,
advantages and lengths.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
from typing import Any

import numpy as np

from entrojax.data.tokenizer import Tokenizer
from entrojax.metrics import finalize
from entrojax.system import hosts
from entrojax.types import (
  BatchVerifier,
  Problem,
  Responses,
  Rollout,
  Verdict,
  Verifier,
)


def decode_responses(rollout: Rollout, tokenizer: Tokenizer) -> list[str]:
  """Decode each response of a rollout that is on the host."""
  length = rollout.response_mask.shape[1]
  texts = []
  for row, mask in zip(
    rollout.tokens[:, -length:], rollout.response_mask, strict=True
  ):
    texts.append(tokenizer.decode(row[mask > 0].tolist()))
  return texts


def verify_responses(
  problems: Sequence[Problem], responses: Sequence[str], verify: Verifier
) -> list[list[Verdict]]:
  """Verify G responses to each of Q problems.

  Args:
    problems: Q problems.
    responses: Q * G texts.
    verify: the task's verifier; a BatchVerifier gets all responses at once.

  Returns:
    [Q][G] verdicts.
  """
  size = len(responses) // max(len(problems), 1)
  repeated = [problem for problem in problems for _ in range(size)]
  if isinstance(verify, BatchVerifier):
    verdicts = verify.batch(repeated, responses)
  else:
    verdicts = list(map(verify, repeated, responses))
  return [verdicts[q * size : (q + 1) * size] for q in range(len(problems))]


def correctness(verdicts: Sequence[Sequence[Verdict]]) -> np.ndarray:
  """Return the raw rewards f32[Q, G], before any shaping."""
  return np.array([[v.reward for v in row] for row in verdicts], np.float32)


def group_responses(
  rollout: Rollout,
  verdicts: Sequence[Sequence[Verdict]],
  *,
  rollout_step: int,
  cluster: Callable[[Sequence[str | None]], list[int]] | None = None,
) -> Responses:
  """Collect what advantage rules may read about a rollout.

  Args:
    rollout: B rows, on the host.
    verdicts: [Q][G].
    rollout_step: rollout batches before this one.
    cluster: maps the answers of a group to cluster numbers, equal for answers
      of the same meaning; None: no rule reads clusters.
  """
  rewards = correctness(verdicts)
  mask = rollout.response_mask
  lengths = mask.sum(axis=1)
  token_mean = lambda x: x.sum(axis=1) / np.maximum(lengths, 1)
  group = lambda x: np.asarray(x, np.float32).reshape(rewards.shape)
  return Responses(
    rewards=rewards,
    correctness=rewards,
    log_probs=group(token_mean(rollout.log_probs)),
    lengths=group(lengths),
    truncated=group(rollout.truncated),
    clusters=None
    if cluster is None
    else np.array([cluster([v.answer for v in row]) for row in verdicts]),
    entropy=np.asarray(rollout.entropy.sum() / max(mask.sum(), 1), np.float32),
    entropies=group(token_mean(rollout.entropy)),
    rollout_step=np.asarray(rollout_step, np.int32),
  )


def gather_responses(own: Responses, share: hosts.Share) -> Responses:
  """Collect the responses of all processes, in the order of the batch.

  Args:
    own: this process's responses, to the prompts `share.held`, on the host.
    share: which process verifies which prompts.
  """
  shape = own.rewards.shape
  columns = dataclasses.replace(
    own,
    entropy=np.broadcast_to(np.asarray(own.entropy), shape),
    rollout_step=None,
  )
  gathered = hosts.gather(columns, share)
  tokens = np.asarray(gathered.lengths, np.float64)
  # each process has a mean over its own tokens
  total = np.sum(np.asarray(gathered.entropy, np.float64) * tokens)
  return dataclasses.replace(
    gathered,
    entropy=np.asarray(total / max(tokens.sum(), 1), np.float32),
    rollout_step=own.rollout_step,
  )


def reward_metrics(sampled: Responses, trained: Responses) -> dict[str, Any]:
  """Compute the metrics of a step's responses, by name.

  critic/rewards is the raw reward; critic/shaped_rewards includes the shaping.
  Metrics of the policy's behaviour use all its samples, including those that
  it is not trained on.

  Args:
    sampled: all verified responses of the step, on the host.
    trained: the responses of the batch, with advantages, on the host. Those
      without a token only fill the batch.
  """
  rewards, lengths = map(np.asarray, (sampled.correctness, sampled.lengths))
  trains = np.asarray(trained.lengths) > 0
  equal = rewards.max(axis=1) == rewards.min(axis=1)
  right = rewards.max(axis=1) >= 1
  return {
    **_spread("critic/rewards", rewards),
    **_spread("critic/advantages", np.asarray(trained.advantages)[trains]),
    "critic/shaped_rewards/mean": _mean(np.asarray(trained.rewards)[trains]),
    "critic/groups/all_right": float(np.mean(equal & right)),
    "critic/groups/all_wrong": float(np.mean(equal & ~right)),
    "critic/kept": float(np.mean(np.asarray(trained.keep))),
    "response_length/mean": float(lengths.mean()),
    "response_length/max": float(lengths.max()),
    "response_length/clip_ratio": float(np.mean(np.asarray(sampled.truncated))),
    "rollout/tokens": float(lengths.sum(dtype=np.float64)),
    **finalize(trained.metrics),
  }


def _spread(name: str, values: np.ndarray) -> dict[str, float]:
  """Return mean, maximum and minimum; NaN if there are no values."""
  some = values.size > 0
  return {
    f"{name}/mean": _mean(values),
    f"{name}/max": float(values.max()) if some else math.nan,
    f"{name}/min": float(values.min()) if some else math.nan,
  }


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if values.size else math.nan
