"""Evaluate the policy of a run on each of its evaluation sets.

The result is the metrics of the evaluation and the rows of two files of the run
directory: the number of right answers to each prompt, and some of the samples.
If the run keeps tokens, the tokens of some responses belong to it, too.
A signal stops an evaluation before its next batch of prompts.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from entrojax.assembly.evaluation_sets import EvaluationSet
from entrojax.assembly.run import Run
from entrojax.assembly.token_samples import collect_tokens
from entrojax.loop.rollout_step import Position, fold_in
from entrojax.reporting.token_logs import TokenSamples
from entrojax.rollouts.evaluation import (
  EVALUATION_KEY,
  Evaluation,
  evaluate_policy,
  right_answers,
  summarize,
)
from entrojax.rollouts.sampler import Generate
from entrojax.system.workdir import EVALUATIONS_FILE, SAMPLES_FILE
from entrojax.types import Array, Params, Prompts, Rollout

Rows = list[dict[str, Any]]


class InterruptedEvaluation(Exception):
  """A signal has stopped an evaluation."""


class Evaluated(NamedTuple):
  """The results of one evaluation on all sets."""

  metrics: dict[str, float]
  rows: dict[str, Rows]  # to append to files of the run directory, by file
  tokens: list[TokenSamples]  # of each set; empty if the run keeps none


def evaluate_run(
  run: Run, at: Position, stopped: Callable[[], bool] = lambda: False
) -> Evaluated:
  """Evaluate the policy on each set.

  Args:
    run: the run.
    at: the position at which it is evaluated.
    stopped: returns whether to give up, before each batch of prompts.

  Raises:
    InterruptedEvaluation: `stopped` returned True.
  """
  settings = run.settings.evaluation
  metrics: dict[str, float] = {}
  right: Rows = []
  samples: Rows = []
  tokens: list[TokenSamples] = []
  key = fold_in(run, at.key, EVALUATION_KEY)
  for part in run.evaluation_sets:
    evaluation = evaluate_policy(
      until(stopped, run.functions.evaluate[part.num_samples]),
      at.state.params,
      part.problems,
      part.task.verify,
      run.data.tokenizer,
      key,
      prompt_length=settings.prompt_length,
      prompt_buckets=settings.prompt_buckets,
      prompts_per_batch=settings.prompts_per_batch,
    )
    metrics |= summarize(evaluation, part.name)
    right.append(
      {
        "rollout_step": at.rollout_step,
        "step": at.step,
        **right_answers(evaluation, part.problems, part.name),
      }
    )
    samples += _first_samples(
      evaluation, part, at.rollout_step, run.settings.log.num_samples
    )
    if settings.token_samples:
      tokens.append(
        collect_tokens(
          run,
          at.state,
          part,
          evaluation,
          key,
          step=at.step,
          rollout_step=at.rollout_step,
        )
      )
  rows = {EVALUATIONS_FILE: right, SAMPLES_FILE: samples}
  return Evaluated(metrics, rows, tokens)


def until(stopped: Callable[[], bool], generate: Generate) -> Generate:
  """Wrap `generate` to raise InterruptedEvaluation if the run is to end."""

  def run(params: Params, prompts: Prompts, key: Array) -> Rollout:
    if stopped():
      raise InterruptedEvaluation
    return generate(params, prompts, key)

  return run


def _first_samples(
  evaluation: Evaluation, part: EvaluationSet, rollout_step: int, number: int
) -> Rows:
  """Return the first sample of each of the first prompts, for samples.jsonl.

  Args:
    evaluation: the result of the evaluation.
    part: the evaluation set.
    rollout_step: the number of rollout steps done so far.
    number: at most this many prompts.
  """
  samples = []
  for row in range(min(number, len(part.problems))):
    verdict = evaluation.verdicts[row][0]
    samples.append(
      {
        "rollout_step": rollout_step,
        "task": part.label,
        "prompt": part.problems[row].prompt,
        "response": evaluation.texts[row][0],
        "reward": verdict.reward,
        "reason": verdict.reason,
      }
    )
  return samples
