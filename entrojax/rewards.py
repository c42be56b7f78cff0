"""Rewards: the verifier's verdicts on the responses of a rollout."""

from collections.abc import Callable, Sequence

import numpy as np

from entrojax.types import Problem, Responses, Rollout, Verdict, Verifier


def judge(
  problems: Sequence[Problem], responses: Sequence[str], verify: Verifier
) -> list[list[Verdict]]:
  """Returns [Q][G] verdicts; responses of one problem are neighbours."""
  group_size = len(responses) // len(problems)
  return [
    [
      verify(problem, response)
      for response in responses[q * group_size : (q + 1) * group_size]
    ]
    for q, problem in enumerate(problems)
  ]


def correctness(verdicts: Sequence[Sequence[Verdict]]) -> np.ndarray:
  """Returns the raw rewards f32[Q, G], before any shaping."""
  return np.array([[v.reward for v in row] for row in verdicts], np.float32)


def group_responses(
  rollout: Rollout,
  verdicts: Sequence[Sequence[Verdict]],
  *,
  rollout_step: int,
  cluster: Callable[[Sequence[str | None]], list[int]] | None = None,
) -> Responses:
  """Returns what advantage rules may know of a rollout.

  Args:
    rollout: B rows, on the host.
    verdicts: [Q][G].
    rollout_step: rollout batches before this one.
    cluster: sorts a group's answers by meaning; None: nobody asks.
  """
  rewards = correctness(verdicts)
  mask = rollout.response_mask
  lengths = mask.sum(axis=1)
  log_probs = rollout.log_probs.sum(axis=1) / np.maximum(lengths, 1)
  group = lambda x: np.asarray(x, np.float32).reshape(rewards.shape)
  return Responses(
    rewards=rewards,
    correctness=rewards,
    log_probs=group(log_probs),
    lengths=group(lengths),
    truncated=group(rollout.truncated),
    clusters=None
    if cluster is None
    else np.array([cluster([v.answer for v in row]) for row in verdicts]),
    entropy=np.asarray(rollout.entropy.sum() / max(mask.sum(), 1), np.float32),
    rollout_step=np.asarray(rollout_step, np.int32),
  )


def reward_metrics(responses: Responses) -> dict[str, float]:
  """Returns what a batch's rewards and advantages look like.

  Rewards are the raw ones; shaping shows in critic/shaped_rewards.

  Args:
    responses: with advantages, on the host.
  """
  metrics: dict[str, float] = {}
  rewards = np.asarray(responses.correctness)
  advantages = np.asarray(responses.advantages)
  for name, values in (("rewards", rewards), ("advantages", advantages)):
    metrics[f"critic/{name}/mean"] = float(values.mean())
    metrics[f"critic/{name}/max"] = float(values.max())
    metrics[f"critic/{name}/min"] = float(values.min())
  metrics["critic/shaped_rewards/mean"] = float(np.mean(responses.rewards))
  equal = rewards.max(axis=1) == rewards.min(axis=1)
  metrics["critic/groups/all_right"] = float(
    np.mean(equal & (rewards.max(axis=1) >= 1))
  )
  metrics["critic/groups/all_wrong"] = float(
    np.mean(equal & (rewards.max(axis=1) < 1))
  )
  metrics["critic/kept"] = float(np.mean(np.asarray(responses.keep)))
  return metrics | {
    name: float(mean.total / mean.count)
    for name, mean in responses.metrics.items()
  }
