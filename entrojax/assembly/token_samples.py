"""Collect the tokens that an evaluation keeps of its first batch of prompts.

The tokens are of the first `evaluation.token_samples` samples of each prompt of
that batch, which is the same in every evaluation. update/token_scores.py scores
them, and reporting/token_logs.py describes and writes the result.
"""

from typing import Any
import warnings

import jax
import numpy as np

from entrojax.assembly.evaluation_sets import EvaluationSet
from entrojax.assembly.run import Run
from entrojax.data.tokenizer import Tokenizer
from entrojax.reporting.token_logs import TokenSamples
from entrojax.rollouts.evaluation import Evaluation
from entrojax.rollouts.rewards import group_responses
from entrojax.system import hosts
from entrojax.system.outside import describe
from entrojax.system.sharding import by_row
from entrojax.types import Array, Responses, TrainState
from entrojax.update.token_scores import TokenScores


def collect_tokens(
  run: Run,
  state: TrainState,
  part: EvaluationSet,
  evaluation: Evaluation,
  key: Array,
  *,
  step: int,
  rollout_step: int,
) -> TokenSamples:
  """Score and collect the tokens of an evaluation.

  An advantage is what the run's rules give the response among all n samples of
  the prompts of the batch. With n = 1, as in greedy evaluations, a response has
  no group to be compared with, and its advantage is 0. It is also 0, with a
  warning, if the rules cannot be applied to the evaluation: if they need larger
  groups, or parts of a reward that this task does not have.

  Args:
    run: its evaluations keep tokens.
    state: the policy, and the state of its controller.
    part: the evaluation set.
    evaluation: its result.
    key: for members of the objective that select tokens at random.
    step: optimizer steps so far.
    rollout_step: rollout steps so far.
  """
  rollout = evaluation.first_rollout
  assert rollout is not None and run.base_params is not None
  n, num_prompts = part.num_samples, len(rollout.tokens) // part.num_samples
  number = min(num_prompts, len(part.problems))  # the others fill up the batch
  on_host = hosts.whole(rollout)
  verdicts = evaluation.verdicts[:number]
  responses = group_responses(
    jax.tree.map(lambda x: x[: number * n], on_host),
    verdicts,
    rollout_step=rollout_step,
    cluster=run.data.cluster,
  )
  advantages, keep = np.zeros((2, num_prompts, n), np.float32)
  keep[:number] = 1
  learned = _apply_rules(run, part, responses, step) if n > 1 else None
  if learned is not None:
    advantages[:number] = learned.advantages
    if learned.keep is not None:
      keep[:number] = learned.keep
  scored = min(run.settings.evaluation.token_samples, n)
  scores = hosts.whole(
    run.functions.score_samples[n](
      state,
      run.base_params,
      rollout,
      *hosts.place((advantages, keep), by_row(run.mesh)),
      key,
    )
  )
  scores = jax.tree.map(lambda x: x[: number * scored], scores)
  rows = [(q, s) for q in range(number) for s in range(scored)]
  flat = _flatten(scores)
  texts, starts, names = _decode(scores, run.data.tokenizer)
  return TokenSamples(
    data=part.name,
    step=step,
    rollout_step=rollout_step,
    prompts=[part.problems[q].prompt for q, _ in rows],
    texts=texts,
    reasons=[verdicts[q][s].reason for q, s in rows],
    names=names,
    rewards=np.array([verdicts[q][s].reward for q, s in rows], np.float32),
    advantages=advantages[:number, :scored].reshape(-1),
    lengths=scores.mask.sum(axis=1).astype(np.int32),
    ids=flat.tokens,
    starts=np.array(starts, np.int32),
    log_probs=flat.log_probs,
    entropy=flat.entropy,
    base_log_probs=flat.base_log_probs,
    base_entropy=flat.base_entropy,
    top=flat.top,
    touched=flat.touched,
  )


def _apply_rules(
  run: Run, part: EvaluationSet, responses: Responses, step: int
) -> Responses | None:
  """Apply the run's advantage rules; warn and return None if they cannot be."""
  try:
    return jax.device_get(run.functions.advantage(responses, step))
  except (ValueError, LookupError) as error:
    warnings.warn(
      f"the tokens that evaluations of {part.label} keep have the advantage 0: "
      "the rules of the run cannot be applied to evaluation.num_samples = "
      f"{part.num_samples} responses to each prompt ({describe(error)})",
      stacklevel=2,
    )
    return None


def _flatten(scores: TokenScores) -> Any:
  """Put the sampled tokens of all responses one after the other, [N, ...]."""
  return jax.tree.map(lambda x: x[scores.mask > 0], scores)


def _decode(
  scores: TokenScores, tokenizer: Tokenizer
) -> tuple[list[str], list[int], dict[int, str]]:
  """Decode the responses.

  Returns:
    The text of each response; the start of each token in its text; and the text
    of each token by its id, or its name in the vocabulary if it has none.
  """
  texts: list[str] = []
  starts: list[int] = []
  names: dict[int, str] = {}
  for row, mask in zip(scores.tokens, scores.mask, strict=True):
    ids = row[mask > 0].tolist()
    text, own = tokenizer.decode_with_starts(ids)
    texts.append(text)
    starts += own
    for i, start, stop in zip(ids, own, [*own[1:], len(text)], strict=True):
      if stop > start:
        names.setdefault(i, text[start:stop])
  for i in np.unique(scores.tokens[scores.mask > 0]).tolist():
    names.setdefault(i, tokenizer.name(i))
  return texts, starts, names
