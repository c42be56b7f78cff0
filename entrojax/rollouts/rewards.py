"""Decode, verify and measure responses, and group them for advantage rules.

Everything here runs on the host, on numpy arrays and text. The responses to one
problem are neighbours: row q * G + g is response g to problem q. With several
processes, each verifies its own rows, and `gather_responses` gives every
process the responses of all. `reward_metrics` computes the metrics of rewards,
advantages and lengths.
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import math
from typing import Any

import numpy as np

from entrojax.data.tokenizer import Tokenizer
from entrojax.masking import finalize
from entrojax.system import hosts
from entrojax.system.outside import describe, finite_number
from entrojax.system.rare_warnings import RareWarnings
from entrojax.types import (
  BatchVerifier,
  Problem,
  Responses,
  Rollout,
  Verdict,
  Verifier,
)

warn_of_fault = RareWarnings("faulty reward")  # one count for the process
_warn_of_batch = RareWarnings("batch without a part of the reward")


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
  problems: Sequence[Problem],
  responses: Sequence[str],
  verify: Verifier,
  *,
  faulty: float = 0.0,
) -> list[list[Verdict]]:
  """Verify G responses to each of Q problems.

  A verifier may be a user's own. If it raises, or returns no Verdict with a
  finite reward, the response gets the reward `faulty` and has no answer. The
  first such case, the tenth, the hundredth and so on are warned of.

  Args:
    problems: Q problems.
    responses: Q * G texts.
    verify: the task's verifier; a BatchVerifier gets all responses at once.
    faulty: the reward of a response that the verifier fails on.

  Returns:
    [Q][G] verdicts.
  """
  size = len(responses) // max(len(problems), 1)
  repeated = [problem for problem in problems for _ in range(size)]
  verdicts = [
    checked_verdict(value, problem, response, faulty)
    for value, problem, response in zip(
      _call(verify, repeated, responses), repeated, responses, strict=True
    )
  ]
  return [verdicts[q * size : (q + 1) * size] for q in range(len(problems))]


def _call(
  verify: Verifier, problems: Sequence[Problem], responses: Sequence[str]
) -> list[Any]:
  """Call a verifier; an exception takes the place of what it returns."""

  def call_one(problem: Problem, response: str) -> Any:
    try:
      return verify(problem, response)
    except Exception as error:  # a verifier may be anyone's code
      return error

  if isinstance(verify, BatchVerifier):
    try:
      verdicts = list(verify.batch(problems, responses))
      if len(verdicts) == len(responses):
        return verdicts
    except Exception:  # call by call, to find the responses that it fails on
      pass
  return list(map(call_one, problems, responses))


def checked_verdict(
  value: Any, problem: Problem, response: str, faulty: float
) -> Verdict:
  """Return what a verifier returned if it is a verdict with a finite reward.

  Its fields are converted to types of Python itself, because JSON cannot hold
  NumPy's, and because answers are compared as texts. If that is impossible,
  return a verdict with the reward `faulty`, and warn.
  """
  reward: Any = getattr(value, "reward", None)
  if isinstance(value, Verdict) and (own := _plain(value)) is not None:
    return own
  at = (
    f"for the prompt {problem.prompt!r:.80} and the response {response!r:.80}"
  )
  if isinstance(value, Exception):
    text = f"the verifier raised {describe(value)} {at}"
  elif isinstance(value, Verdict) and str(value.reason).startswith("reward "):
    text = str(value.reason)  # a user's reward function; this says all
  elif isinstance(value, Verdict):
    parts = f" with the parts {value.parts!r:.80}" if value.parts else ""
    text = f"the verifier returned the reward {reward!r:.80}{parts} {at}"
  else:
    text = f"the verifier returned the reward {value!r:.80} {at}"
  warn_of_fault(text)
  return Verdict(faulty, text, None, failed=True)


def _plain(verdict: Verdict) -> Verdict | None:
  """Convert the fields of a verdict; None if a number is none or not finite."""
  reward = finite_number(verdict.reward)
  try:
    parts = {n: finite_number(part) for n, part in verdict.parts.items()}
    answer = None if verdict.answer is None else str(verdict.answer)
    reason, is_failed = str(verdict.reason), bool(verdict.failed)
  except Exception:  # the fields may be of any type
    return None
  if reward is None or None in parts.values():
    return None
  return Verdict(reward, reason, answer, parts, is_failed)  # type: ignore[arg-type]


def replace_faulty(
  responses: Responses, rollout_step: int, *, ends: bool
) -> Responses:
  """Replace rewards that are NaN by 0.

  Args:
    responses: of all processes, on the host.
    rollout_step: rollout batches before this one.
    ends: whether to raise instead.

  Raises:
    SharedError: a reward is NaN and `ends` is true.
  """
  faulty = np.isnan(np.asarray(responses.rewards))
  number = int(faulty.sum())
  if number and ends:
    raise hosts.SharedError(
      f"rollout step {rollout_step + 1}: the verifier failed on {number} of "
      f"{faulty.size} responses, the first to prompt "
      f"{int(np.argwhere(faulty)[0][0])} of the batch, and faults.reward is "
      "'raise'; a warning above shows a response"
    )
  if number:
    rewards = np.where(faulty, 0, np.asarray(responses.rewards))
    rewards = rewards.astype(np.float32)
    responses = dataclasses.replace(
      responses, rewards=rewards, correctness=rewards
    )
  return responses


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
    failed=np.array([[v.failed for v in row] for row in verdicts], np.float32),
    parts=verdict_parts(verdicts),
    clusters=None
    if cluster is None
    else np.array([cluster([v.answer for v in row]) for row in verdicts]),
    entropy=np.asarray(rollout.entropy.sum() / max(mask.sum(), 1), np.float32),
    entropies=group(token_mean(rollout.entropy)),
    rollout_step=np.asarray(rollout_step, np.int32),
  )


def verdict_parts(
  verdicts: Sequence[Sequence[Verdict]],
) -> dict[str, np.ndarray]:
  """Return the named parts of verdicts f32[Q, G]; a missing part is 0."""
  names = sorted({name for row in verdicts for v in row for name in v.parts})
  return {
    name: np.array(
      [[v.parts.get(name, 0.0) for v in row] for row in verdicts], np.float32
    )
    for name in names
  }


def with_parts(responses: Responses, names: Iterable[str]) -> Responses:
  """Add parts that the rewards of others have; they are 0 here."""
  zeros = np.zeros(np.shape(responses.rewards), np.float32)
  parts = {name: responses.parts.get(name, zeros) for name in sorted(names)}
  return dataclasses.replace(responses, parts=parts)


def fill_parts(
  responses: Responses, names: Sequence[str], rollout_step: int
) -> Responses:
  """Add the parts that no response of a batch has; they are 0, with a warning.

  A reward function may give parts only to responses that it understands, and a
  policy can come to write none of these. In the first rollout step nothing is
  added, so that the rule that reads a part refuses a wrong name.

  Args:
    responses: of all processes, on the host.
    names: the parts that the run's advantage rules read.
    rollout_step: rollout batches before this one.
  """
  lacking = [name for name in names if name not in responses.parts]
  if not lacking or rollout_step == 0:
    return responses
  _warn_of_batch(
    f"no response of rollout step {rollout_step + 1} has "
    f"{', '.join(map(repr, lacking))}; a rule of advantages reads it as 0"
  )
  return with_parts(responses, {*responses.parts, *lacking})


def gather_responses(own: Responses, share: hosts.Share) -> Responses:
  """Collect the responses of all processes, in the order of the batch.

  Args:
    own: this process's responses, to the prompts `share.held`, on the host.
    share: which process verifies which prompts.
  """
  shape = own.rewards.shape
  names = set().union(*hosts.gather_json(sorted(own.parts)))
  columns = dataclasses.replace(
    with_parts(own, names),
    entropy=np.broadcast_to(np.asarray(own.entropy), shape),
    rollout_step=None,
  )
  gathered = hosts.gather(columns, share)
  # each process has a mean over its own tokens
  return dataclasses.replace(
    gathered,
    entropy=mean_over_tokens(gathered.entropy, gathered.lengths),
    rollout_step=own.rollout_step,
  )


def mean_over_tokens(entropy: Any, lengths: Any) -> np.ndarray:
  """Compute a token-mean f32[] from means over parts of the tokens.

  Args:
    entropy: the mean of each part, nats, of any shape.
    lengths: the number of tokens of each part, of the same shape.
  """
  tokens = np.asarray(lengths, np.float64)
  total = np.sum(np.asarray(entropy, np.float64) * tokens)
  return np.asarray(total / max(tokens.sum(), 1), np.float32)


def reward_metrics(sampled: Responses, trained: Responses) -> dict[str, Any]:
  """Compute the metrics of a step's responses, by name.

  critic/rewards is the raw reward; critic/shaped_rewards includes the shaping.
  rollout/entropy is the policy's own, over all tokens that it sampled, in nats;
  actor/entropy is over the tokens of the update.
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
    **_outcome_metrics(sampled),
    "critic/kept": float(np.mean(np.asarray(trained.keep))),
    "response_length/mean": float(lengths.mean()),
    "response_length/max": float(lengths.max()),
    "response_length/clip_ratio": float(np.mean(np.asarray(sampled.truncated))),
    "rollout/tokens": float(lengths.sum(dtype=np.float64)),
    "rollout/entropy": float(np.asarray(sampled.entropy)),
    **finalize(trained.metrics),
  }


def _outcome_metrics(sampled: Responses) -> dict[str, float]:
  """Return the share of failed rewards and the mean of each part, if known."""
  metrics = {
    f"critic/parts/{name}": _mean(np.asarray(part))
    for name, part in sampled.parts.items()
  }
  if sampled.failed is not None:
    metrics["critic/failed_rewards"] = _mean(np.asarray(sampled.failed))
  return metrics


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
