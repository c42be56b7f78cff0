"""Rewards: the verifier's verdicts on the responses of a rollout."""

from collections.abc import Sequence

import numpy as np

from entrojax.types import Problem, Verdict, Verifier


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


def reward_metrics(rewards: np.ndarray, advantages: np.ndarray) -> dict:
  """Returns what a batch of rewards and advantages [Q, G] looks like."""
  metrics = {}
  for name, values in (("rewards", rewards), ("advantages", advantages)):
    metrics[f"critic/{name}/mean"] = float(values.mean())
    metrics[f"critic/{name}/max"] = float(values.max())
    metrics[f"critic/{name}/min"] = float(values.min())
  equal = rewards.max(axis=1) == rewards.min(axis=1)
  metrics["critic/groups/all_right"] = float(
    np.mean(equal & (rewards.max(axis=1) >= 1))
  )
  metrics["critic/groups/all_wrong"] = float(
    np.mean(equal & (rewards.max(axis=1) < 1))
  )
  return metrics
