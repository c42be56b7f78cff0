r"""Describe how policies search for a target on Countdown with working.

    python -m experiments.search_behaviour --model=base=bases/reasoning \
        --model=GRPO=exported/grpo [--responses=20]

Each --model is NAME=FOLDER, where FOLDER is a base that ships or a model folder
(`python -m entrojax.export` writes the policy of a run as one). All of them
answer the same held-out prompts with the same random numbers, as
configs/reasoning.py evaluates. The table has a column for each model:

  pass@1 ... pass@n      with standard errors over prompts
  entropy                nats per token; and how much of the sum each fifth of
                         the tokens carries, those with the most entropy first
  response length        mean, and the 90th and 99th percentile, tokens
  cut off                share of responses that ended at the length limit
  right first half       share of the wrong responses whose first half of the
                         moves is right: from where they lead, the target is
                         still in reach
  right step             share of the wrong responses that have a right step
                         anywhere; take-backs do not count
  take-back, right       share of the right responses that take a move back
  take-back, wrong       the same of the wrong ones
  wrong because          reasons, as shares of the wrong responses

Below the table stands, for some prompts, the first response of each model.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from absl import flags
import jax
from ml_collections import ConfigDict as Config
from ml_collections import config_flags
import numpy as np

from entrojax.assembly.check_evaluation import check_evaluation
from entrojax.assembly.data import make_template
from entrojax.assembly.evaluation_sets import read_set, requested
from entrojax.assembly.model import model_folder
from entrojax.assembly.samplers import build_evaluation
from entrojax.data.tokenizer import load
from entrojax.reporting.formatting import align, percent, with_error
from entrojax.rollouts.evaluation import (
  EVALUATION_KEY,
  Evaluation,
  evaluate_policy,
  measure,
)
from entrojax.system.command_line import command
from entrojax.tasks.families.countdown_steps import judge_moves
from entrojax.types import Problem

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "the task, the lengths and the sampling",
  flag_values=FLAGS,
)
_MODELS = flags.DEFINE_multi_string(
  "model", [], "NAME=FOLDER, a model to describe", flag_values=FLAGS
)
_RESPONSES = flags.DEFINE_integer(
  "responses", 20, "prompts whose responses are printed", flag_values=FLAGS
)

_NUM_FIFTHS = 5


class Samples(NamedTuple):
  """What a policy answered to the held-out problems."""

  problems: Sequence[Problem]
  evaluation: Evaluation
  entropies: np.ndarray  # f32[N], nats, of all sampled tokens
  lengths: np.ndarray  # f32[responses], tokens


class Behaviour(NamedTuple):
  """Shares of responses in which something happens."""

  right_first_half: float  # of the wrong responses
  right_step: float  # of the wrong responses
  take_back_right: float  # of the right responses
  take_back_wrong: float  # of the wrong responses
  reasons: dict[str, float]  # of the wrong responses, the most frequent first


def sample(config: Config, path: str) -> Samples:
  """Let a model answer the held-out problems of a config.

  Args:
    config: the settings; model.path is not read.
    path: the model folder, or a base that ships.

  Raises:
    ValueError: the folder or a setting cannot be used.
  """
  config = config.copy_and_resolve_references()
  config.model.path = path
  check_evaluation(config)
  folder = model_folder(path)
  tokenizer, template = load(folder), make_template(config, folder)
  (request,) = requested(config)
  part = read_set(config, request, tokenizer, template)
  samplers, params = build_evaluation(
    config, folder, tokenizer, [part.num_samples]
  )
  entropies, lengths = [], []

  def generate(params, prompts, key):
    rollout = samplers[part.num_samples](params, prompts, key)
    mask = np.asarray(rollout.response_mask) > 0
    entropies.append(np.asarray(rollout.entropy)[mask])
    lengths.append(mask.sum(axis=1))
    return rollout

  evaluation = evaluate_policy(
    generate,
    params,
    part.problems,
    part.task.verify,
    tokenizer,
    jax.random.fold_in(jax.random.key(config.seed), EVALUATION_KEY),
    prompt_length=config.rollout.prompt_length,
    prompt_buckets=config.rollout.prompt_buckets,
    prompts_per_batch=config.evaluation.prompts_per_batch,
  )
  return Samples(
    part.problems,
    evaluation,
    np.concatenate(entropies),
    np.concatenate(lengths),
  )


def entropy_by_fifth(entropies: np.ndarray) -> np.ndarray:
  """Return the share of the summed entropy in each fifth of tokens f[5].

  Args:
    entropies: f[N], nats, not all of them 0.
  """
  descending = np.sort(entropies.astype(np.float64))[::-1]
  fifths = np.array_split(descending, _NUM_FIFTHS)
  return np.array([fifth.sum() for fifth in fifths]) / descending.sum()


def first_half_is_right(problem: Problem, response: str) -> bool:
  """Return whether the first half of the moves, at least one, is right."""
  moves = judge_moves(problem, response)
  return all(moves[: max(len(moves) // 2, 1)])


def has_right_step(problem: Problem, response: str) -> bool:
  """Return whether a response has a right step, take-backs left out."""
  moves = zip(response.split(";"), judge_moves(problem, response), strict=True)
  return any(right and "<" not in move for move, right in moves)


def describe(problems: Sequence[Problem], evaluation: Evaluation) -> Behaviour:
  """Count what happens in the responses to the problems."""
  half: list[bool] = []
  step: list[bool] = []
  back: dict[bool, list[bool]] = {True: [], False: []}
  reasons: Counter[str] = Counter()
  for problem, texts, verdicts in zip(
    problems, evaluation.texts, evaluation.verdicts, strict=True
  ):
    for text, verdict in zip(texts, verdicts, strict=True):
      right = verdict.reward >= 1
      back[right].append(verdict.parts["take_back"] > 0)
      if not right:
        half.append(first_half_is_right(problem, text))
        step.append(has_right_step(problem, text))
        reasons[verdict.reason] += 1
  return Behaviour(
    _mean(half),
    _mean(step),
    _mean(back[True]),
    _mean(back[False]),
    {name: n / len(half) for name, n in reasons.most_common()},
  )


def _mean(values: Sequence[bool]) -> float:
  """Return the share of true values, NaN if there are no values."""
  return float(np.mean(values)) if values else float("nan")


def column(samples: Samples) -> dict[str, str]:
  """Return the cells of a model's column of the table, by label."""
  metrics = measure(samples.evaluation)
  behaviour = describe(samples.problems, samples.evaluation)
  fifths = entropy_by_fifth(samples.entropies)
  p90, p99 = np.percentile(samples.lengths, [90, 99])
  passes = [name for name in metrics if name.startswith("pass@")]
  return {
    **{
      name: with_error(metrics[name], metrics[f"{name}_stderr"])
      for name in passes
      if not name.endswith("_stderr")
    },
    "entropy (nats)": with_error(metrics["entropy"]),
    "its share by fifth of tokens": " ".join(percent(x) for x in fifths),
    "response length": f"{samples.lengths.mean():.1f}, {p90:.0f}, {p99:.0f}",
    "cut off": percent(metrics["truncated"]),
    "right first half, of the wrong": percent(behaviour.right_first_half),
    "right step, of the wrong": percent(behaviour.right_step),
    "take-back, of the right": percent(behaviour.take_back_right),
    "take-back, of the wrong": percent(behaviour.take_back_wrong),
    **{
      f"wrong because: {reason}": percent(share)
      for reason, share in behaviour.reasons.items()
    },
  }


def side_by_side(models: dict[str, Samples], num_prompts: int) -> list[str]:
  """Return lines with the first response of each model to some prompts."""
  problems = next(iter(models.values())).problems
  width = max(map(len, models))
  lines = []
  for row in range(min(num_prompts, len(problems))):
    lines += ["", problems[row].prompt]
    for name, samples in models.items():
      text = samples.evaluation.texts[row][0]
      verdict = samples.evaluation.verdicts[row][0]
      lines.append(f"  {name:<{width}}  {text}   [{verdict.reason}]")
  return lines


def read_models(labels: Sequence[str]) -> dict[str, str]:
  """Split NAME=FOLDER labels.

  Raises:
    ValueError: a label has another form, or a name is given twice.
  """
  models: dict[str, str] = {}
  for label in labels:
    name, equals, folder = label.partition("=")
    if not (name and equals and folder):
      raise ValueError(f"--model={label} must be NAME=FOLDER")
    if name in models:
      raise ValueError(f"--model={label}: the name {name} is given twice")
    models[name] = folder
  return models


@command(
  FLAGS,
  required=("model",),
  settings="configs/default.py",
  default_config="configs/reasoning.py",
)
def main() -> None:
  """Describe the models, and print responses side by side."""
  models = {
    name: sample(_CONFIG.value, folder)
    for name, folder in read_models(_MODELS.value).items()
  }
  columns = [column(samples) for samples in models.values()]
  labels = dict.fromkeys(label for cells in columns for label in cells)
  cells = [[label, *(c.get(label, "–") for c in columns)] for label in labels]
  print(align(list(models), cells, width=160))
  print("\n".join(side_by_side(models, _RESPONSES.value)))


if __name__ == "__main__":
  main()
