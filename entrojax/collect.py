"""Sample, verify and judge the rollouts that an offline run trains on.

    python -m entrojax.collect --config=configs/bcpg_nsa.py \
        --output=runs/rollouts.jsonl

The model of model.path answers offline.num_prompts problems of the training
split, with rollout.group_size responses to each. The responses are verified.
Wrong ones are cut into steps (config.segmentation), and the judges of
config.judges say which steps are right. rollouts/recorded.py describes the
file.

An interrupted command resumes when it is started again. A run without
offline.rollouts collects its rollouts at its start, into its run directory.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import itertools
from pathlib import Path
from typing import Any

from absl import flags
import jax
from ml_collections import ConfigDict as Config
from ml_collections import config_flags
import numpy as np

from entrojax.assembly.check_settings import check_kind, check_offline
from entrojax.assembly.data import load_problems, settings_of, training_rows
from entrojax.assembly.methods import make_judges, make_segmenter
from entrojax.assembly.model import model_folder
from entrojax.assembly.run import build_sampler
from entrojax.data import tokenizer as tokenizers
from entrojax.data.prompt_stream import encode_prompts
from entrojax.judges.segmentation import Segmenter
from entrojax.rollouts import recorded
from entrojax.rollouts.rewards import decode_responses, judge
from entrojax.system.command_line import command
from entrojax.tasks import make_task
from entrojax.types import Problem, Reasoning, Rollout, StepJudge, Task

_KEY = 2**32 - 3  # folded into the seed; no rollout step has this number

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "the settings of the offline run, a file such as configs/bcpg_nsa.py",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output", None, "the JSONL file of rollouts to write", flag_values=FLAGS
)


def collect(config: Config, path: Path) -> Iterator[tuple[int, int]]:
  """Write the file batch by batch; resume an unfinished one.

  The responses to a problem depend on the seed and the problem's row alone.

  Args:
    config: the settings of the offline run.
    path: the file. The answers of the judge chat_model are kept beside it.

  Yields:
    (prompts done, prompts in all) before the first batch and after each.

  Raises:
    ValueError: a setting cannot work, or the file was begun with other
      settings.
  """
  check_offline(config)
  task = make_task(
    config.task.name, config.task.data_dir, config.task.difficulty
  )
  segment = make_segmenter(config)
  judges = make_judges(
    config, task, cache=path.with_name(path.name + ".verdicts")
  )
  tokenizer = tokenizers.load(model_folder(config.model.path))
  problems = load_problems(config, task, config.task.train_split)
  # judges read the problems without the model's template
  plain = task.load(config.task.train_split)
  rows = training_rows(config, plain)
  chosen = np.random.default_rng(config.seed).permutation(rows)
  chosen = chosen[: config.offline.num_prompts]
  prompts = encode_prompts(
    [problems[row] for row in chosen], tokenizer, config.rollout.prompt_length
  )
  generate, params = build_sampler(config, tokenizer)
  key = jax.random.fold_in(jax.random.key(config.seed), _KEY)
  batch_size, group_size = config.rollout.num_prompts, config.rollout.group_size
  done = recorded.begin(
    path,
    settings_of(config),
    num_rows=len(chosen) * group_size,
    batch_size=batch_size * group_size,
  )
  done //= group_size
  yield done, len(chosen)
  while done < len(chosen):
    rows = chosen[done : done + batch_size]
    # Repeats fill the last batch up, so that shapes never change.
    places = np.arange(done, done + batch_size)
    batch = jax.tree.map(lambda x, p=places: x[p % len(chosen)], prompts)
    fillers = len(problems) + np.arange(batch_size - len(rows))
    ids = np.concatenate([rows, fillers]).astype(np.int32)
    batch = dataclasses.replace(batch, ids=ids)
    rollout = jax.device_get(generate(params, batch, key))
    responses = _verify_rollout(
      jax.tree.map(lambda x, r=rows: x[: len(r) * group_size], rollout),
      {int(row): problems[row] for row in rows},
      tokenizer,
      task,
    )
    add_verdicts(responses, plain, segment, judges)
    recorded.append(path, responses)
    done += len(rows)
    yield done, len(chosen)


def _verify_rollout(
  rollout: Rollout,
  problems: Mapping[int, Problem],
  tokenizer: tokenizers.Tokenizer,
  task: Task,
) -> list[dict[str, Any]]:
  """Decode and verify a rollout.

  Args:
    rollout: the responses to `problems`, group by group, on the host.
    problems: by row of the training split, in the rollout's order.
    tokenizer: the policy's.
    task: the task, which verifies.

  Returns:
    A row of the file for each response, without steps and verdicts of judges.
  """
  texts = decode_responses(rollout, tokenizer)
  group_size = len(texts) // len(problems)
  verdicts = judge(list(problems.values()), texts, task.verify)
  numbers = [number for number in problems for _ in range(group_size)]
  length = rollout.response_mask.shape[1]
  return [
    recorded.Response(
      problem=number,
      prompt=problems[number].prompt,
      response=text,
      tokens=tokens[mask > 0].tolist(),
      truncated=bool(truncated),
      reward=float(verdict.reward),
      reason=verdict.reason,
      answer=verdict.answer,
      steps=[],
      verdicts={},
    )._asdict()
    for number, text, verdict, tokens, mask, truncated in zip(
      numbers,
      texts,
      itertools.chain(*verdicts),
      rollout.tokens[:, -length:],
      rollout.response_mask,
      rollout.truncated,
      strict=True,
    )
  ]


def add_verdicts(
  rows: Sequence[dict[str, Any]],
  problems: Sequence[Problem],
  segment: Segmenter,
  judges: Mapping[str, StepJudge],
) -> None:
  """Add steps and the judges' verdicts to the wrong responses, in place.

  A group without a right response is left out, since training drops it.

  Args:
    rows: rows of the file, in whole groups.
    problems: all problems of the split, as the judges read them.
    segment: cuts a response into steps.
    judges: by name; without judges nothing is cut.
  """
  solved = {r["problem"] for r in rows if recorded.is_right(r["reward"])}
  wrong = [
    row
    for row in rows
    if row["problem"] in solved and not recorded.is_right(row["reward"])
  ]
  if not judges:
    return
  for row in wrong:
    row["steps"] = segment(row["response"])
  reasonings = [
    Reasoning(
      problems[row["problem"]],
      [row["response"][start:end] for start, end in row["steps"]],
    )
    for row in wrong
  ]
  for name, judge_steps in judges.items():
    for row, right in zip(wrong, judge_steps(reasonings), strict=True):
      row["verdicts"][name] = right


def collect_with_progress(
  config: Config, path: Path, every: float = 0.05
) -> None:
  """Run `collect` to its end and print its progress.

  Args:
    config: see `collect`.
    path: see `collect`.
    every: the part of all prompts between two lines of progress.
  """
  last = 0  # prompts done at the last line
  for done, number in collect(config, path):
    if done == number or done - last >= every * number:
      print(f"{done}/{number} prompts sampled and judged", flush=True)
      last = done


@command(
  FLAGS,
  required=("config", "output"),
  settings="configs/default.py",
  interrupted=(
    "Interrupted. Run the same command again to resume after the last batch."
  ),
)
def main() -> None:
  """Write the file."""
  path = Path(_OUTPUT.value)
  check_kind(_CONFIG.value)
  collect_with_progress(_CONFIG.value, path)
  print(f"done: {path}")


if __name__ == "__main__":
  main()
