"""Evaluate a policy on held-out prompts: pass@k, maj@k and avg@n.

    pass@k = 1 - C(n - c, k) / C(n, k)
    maj@k  = how often the most frequent of k answers is right
    avg@n  = c / n

A prompt has n samples, and c of them are right: their reward is at least 1. The
mean reward stands beside them, and equals avg@n if every reward is 0 or 1. k
takes the powers of 2 up to n, and n. answers/pass_at_k.py computes pass@k.
maj@k is estimated from 16 random subsets of k samples; it is exact for k = 1
and k = n. Answers that do not parse have no vote. All three are averaged over
prompts. pass@k and maj@k are reported with a standard error, from a bootstrap
over prompts. The number of distinct right answers, the entropy over the
different answers, the diversity of the texts, the token entropy, the mean
length, the share of truncated responses and the means of the verdicts' parts
are reported too. `right_answers` counts the right answers to each prompt, and
how far the answers agree.

`evaluate_policy` samples and verifies. `measure` and `summarize` compute the
metrics.
"""

from collections import Counter
from collections.abc import Sequence
import dataclasses
import hashlib
import json
from typing import Any, NamedTuple

import jax
import numpy as np

from entrojax.answers.agreement import agreement
from entrojax.answers.diversity import distinct_n
from entrojax.answers.pass_at_k import pass_at_k
from entrojax.data.prompt_stream import encode_prompts, shortest
from entrojax.data.tokenizer import Tokenizer
from entrojax.rollouts.rewards import (
  correctness,
  decode_responses,
  verdict_parts,
  verify_responses,
)
from entrojax.rollouts.sampler import Generate
from entrojax.system import hosts
from entrojax.types import (
  Array,
  Params,
  Problem,
  Rollout,
  Verdict,
  Verifier,
)

_BOOTSTRAP_DRAWS = 1000
_MAJORITY_DRAWS = 16
_SEED = 0  # for draws on the host: bootstrap and majority subsets

EVALUATION_KEY = 2**32 - 1  # no rollout step has this number


class Evaluation(NamedTuple):
  """The verified samples of a policy: n for each of Q prompts."""

  texts: list[list[str]]  # [Q][n]
  verdicts: list[list[Verdict]]  # [Q][n]
  response_length: float  # tokens, mean
  truncated: float  # share of responses that ended at the length limit
  entropy: float  # nats, token-mean
  # of the first batch of prompts, n responses each, on the devices; its last
  # prompts may be repeats that fill it up
  first_rollout: Rollout | None = None

  def correct(self) -> np.ndarray:
    """Return bool[Q, n]: which samples are right."""
    return correctness(self.verdicts) >= 1.0

  def answers(self) -> list[list[str | None]]:
    """Return [Q][n] normalised answers; None does not vote."""
    return [[v.answer for v in row] for row in self.verdicts]


def maj_at_k(
  answers: Sequence[Sequence[str | None]], correct: np.ndarray, k: int
) -> np.ndarray:
  """Compute maj@k f[Q]: how often the most frequent answer is right.

  The mean is over random subsets of k samples without replacement. Answers that
  do not parse do not vote. Among tied answers the first sampled one wins. If
  samples with the winning answer have different verdicts, as a reward that also
  looks at the form of a response may give them, the first of them counts.

  Args:
    answers: [Q][n] normalised answers; None: unparseable.
    correct: bool[Q, n], which samples are right.
    k: 1 <= k <= n.
  """
  if k == 1:  # the only answer wins, if it has a vote
    votes = np.array([[a is not None for a in group] for group in answers])
    return np.mean(correct & votes, axis=1)
  rng = np.random.default_rng([_SEED, k])
  num_samples = correct.shape[1]
  draws = 1 if k == num_samples else _MAJORITY_DRAWS
  scores = np.zeros(len(answers))
  for row, group in enumerate(answers):
    for _ in range(draws):
      order = rng.permutation(num_samples) if draws > 1 else range(num_samples)
      voters = [i for i in order[:k] if group[i] is not None]
      if voters:
        winner, _ = Counter(group[i] for i in voters).most_common(1)[0]
        first = next(i for i in voters if group[i] == winner)
        scores[row] += correct[row, first]
  return scores / draws


def standard_error(values: np.ndarray) -> float:
  """Compute the bootstrap error of the mean of values f[Q] over prompts."""
  rng = np.random.default_rng(_SEED)
  rows = rng.integers(len(values), size=(_BOOTSTRAP_DRAWS, len(values)))
  return float(np.std(values[rows].mean(axis=1), ddof=1))


def summarize(evaluation: Evaluation, name: str) -> dict[str, float]:
  """Compute the metrics of an evaluation, named 'val/<name>/...'."""
  return {f"val/{name}/{key}": x for key, x in measure(evaluation).items()}


def right_answers(
  evaluation: Evaluation, problems: Sequence[Problem], name: str
) -> dict[str, Any]:
  """Count the answers to each prompt, to compare policies by prompt.

  Args:
    evaluation: the verified samples of the problems.
    problems: Q held-out problems, in the order of the evaluation.
    name: the data set, as in 'val/<name>/...'.

  Returns:
    `data`, the name; `num_samples`, n; `prompts`, a fingerprint that is equal
    for equal prompts in equal order; `right`, Q numbers between 0 and n; and
    what answers/agreement.py computes, Q numbers each: `confidence`,
    `majority_right` and `answer_entropy`.
  """
  text = json.dumps([problem.prompt for problem in problems])
  correct = evaluation.correct()
  agreed = agreement(evaluation.answers(), correct)
  return {
    "data": name,
    "num_samples": correct.shape[1],
    "prompts": hashlib.sha256(text.encode()).hexdigest()[:16],
    "right": correct.sum(axis=1).tolist(),
    "confidence": agreed.confidence.round(4).tolist(),
    "majority_right": agreed.majority_right.astype(int).tolist(),
    "answer_entropy": agreed.entropy.round(4).tolist(),
  }


def ks_of(num_samples: int) -> list[int]:
  """Return the k of pass@k and maj@k: the powers of 2 up to n, and n."""
  return sorted({2**i for i in range(num_samples.bit_length())} | {num_samples})


def measure(evaluation: Evaluation) -> dict[str, float]:
  """Compute the metrics of an evaluation of n samples for each prompt."""
  correct, answers = evaluation.correct(), evaluation.answers()
  num_samples = correct.shape[1]
  num_correct = correct.sum(axis=1)
  metrics = {}
  for k in ks_of(num_samples):
    for label, values in (
      (f"pass@{k}", pass_at_k(num_samples, num_correct, k)),
      (f"maj@{k}", maj_at_k(answers, correct, k)),
    ):
      metrics[label] = float(values.mean())
      metrics[f"{label}_stderr"] = standard_error(values)
  metrics[f"avg@{num_samples}"] = float(correct.mean())
  metrics["reward"] = float(correctness(evaluation.verdicts).mean())
  distinct = [
    len({a for a, c in zip(row, right, strict=True) if c})
    for row, right in zip(answers, correct, strict=True)
  ]
  metrics["distinct_correct"] = float(np.mean(distinct))
  metrics["answer_entropy"] = float(agreement(answers, correct).entropy.mean())
  metrics["distinct_2"] = float(
    np.mean([distinct_n(texts, 2) for texts in evaluation.texts])
  )
  metrics["entropy"] = evaluation.entropy
  metrics["response_length"] = evaluation.response_length
  metrics["truncated"] = evaluation.truncated
  parts = verdict_parts(evaluation.verdicts)
  return metrics | {f"parts/{k}": float(x.mean()) for k, x in parts.items()}


def evaluate_policy(
  generate: Generate,
  params: Params,
  problems: Sequence[Problem],
  verify: Verifier,
  tokenizer: Tokenizer,
  key: Array,
  *,
  prompt_length: int,
  prompt_buckets: Sequence[int] = (),
  prompts_per_batch: int,
) -> Evaluation:
  """Sample every problem and verify the samples.

  Args:
    generate: jitted (params, prompts, key) -> n samples of each prompt.
    params: the policy's parameters.
    problems: Q held-out problems.
    verify: the task's verifier.
    tokenizer: the policy's tokenizer.
    key: the key of all samples; `generate` folds each prompt's row into it.
    prompt_length: P, tokens that every prompt is padded to.
    prompt_buckets: smaller P, ascending, for batches of short prompts.
    prompts_per_batch: prompts in one call of `generate`; the last batch is
      filled up with repeats, so that shapes never change.
  """
  prompts = encode_prompts(problems, tokenizer, prompt_length)
  texts: list[list[str]] = []
  verdicts: list[list[Verdict]] = []
  first_rollout = None
  totals = np.zeros(3)
  for start in range(0, len(problems), prompts_per_batch):
    rows = np.arange(start, start + prompts_per_batch)
    filled = rows % len(problems)
    batch = jax.tree.map(lambda x, r=filled: x[r], prompts)
    batch = dataclasses.replace(batch, ids=rows.astype(np.int32))
    batch = shortest(batch, prompt_buckets)
    rollout = generate(params, batch, key)
    first_rollout = rollout if first_rollout is None else first_rollout
    batch_problems = problems[start : start + prompts_per_batch]
    samples, sums = _verify_batch(
      rollout, batch_problems, prompts_per_batch, verify, tokenizer
    )
    for row in samples:
      texts.append([text for text, _ in row])
      verdicts.append([Verdict(*verdict) for _, verdict in row])
    totals = totals + sums
  num_rows = len(texts) * len(texts[0])
  lengths, entropy, truncated = totals.tolist()
  return Evaluation(
    texts=texts,
    verdicts=verdicts,
    response_length=lengths / num_rows,
    truncated=truncated / num_rows,
    entropy=entropy / lengths,
    first_rollout=first_rollout,
  )


def _verify_batch(
  rollout: Rollout,
  problems: Sequence[Problem],
  num_prompts: int,
  verify: Verifier,
  tokenizer: Tokenizer,
) -> tuple[list[list[tuple[str, Verdict]]], np.ndarray]:
  """Verify the responses to the first prompts of a batch.

  Each process verifies the responses to its own prompts. Then every process
  gets all results.

  Args:
    rollout: the rollout of the batch, on the device.
    problems: the problems of the first prompts; the other prompts of the batch
      only fill it up.
    num_prompts: the number of prompts in the batch.
    verify: the task's verifier.
    tokenizer: the policy's tokenizer.

  Returns:
    For each problem, the text and verdict of each response; and three sums over
    all responses: tokens, entropy in nats, number of truncated responses.
  """
  share = hosts.share(rollout.tokens, num_prompts)
  without_fillers = lambda numbers: numbers[numbers < len(problems)]
  mine = without_fillers(share.mine)
  own = hosts.own_rows(rollout, mine, num_prompts)
  own_texts = decode_responses(own, tokenizer)
  verdicts = verify_responses([problems[i] for i in mine], own_texts, verify)
  texts = iter(own_texts)
  summed = (own.response_mask, own.entropy, own.truncated)
  parts = hosts.gather_json(
    {
      "rows": [[(next(texts), verdict) for verdict in row] for row in verdicts],
      "sums": [float(x.sum()) for x in summed],
    }
  )
  samples: list[Any] = [None] * len(problems)
  for process, part in enumerate(parts):
    numbers = without_fillers(share.of(process))
    for i, row in zip(numbers, part["rows"], strict=True):
      samples[i] = row
  return samples, np.sum([part["sums"] for part in parts], axis=0)
