"""Rollouts for a run that trains offline: sampled, verified, judged, on disk.

    python -m entrojax.collect --config=configs/bcpg_nsa.py \
        --output=runs/rollouts.jsonl

Samples rollout.group_size responses to each of offline.num_prompts problems of
the training split from model.path, verifies them, cuts the wrong ones into
steps (config.segmentation) and has these judged (config.judges); see
recorded.py for the file. Stopped, the same command goes on. A run without
offline.rollouts does all that first, in its work directory.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import itertools
from pathlib import Path
from typing import Any

from absl import app, flags, logging
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
from entrojax.system.command_line import command, parse_flags
from entrojax.tasks import make_task
from entrojax.types import Problem, Reasoning, Rollout, StepJudge, Task

_KEY = 2**32 - 3  # no rollout step has this number


def collect(config: Config, path: Path) -> Iterator[tuple[int, int]]:
  """Writes the file, batch by batch; goes on with an unfinished one.

  The responses to a problem depend on the seed and on its row alone.

  Args:
    config: of the run that is to be.
    path: the file; what a chat_model answered is kept beside it.

  Yields:
    (prompts done, prompts in all), first before anything is sampled.

  Raises:
    ValueError: a setting cannot work, or the file is of other settings.
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
  plain = task.load(config.task.train_split)  # for the judges
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
    # the last batch is filled up with repeats, so that shapes never change
    places = np.arange(done, done + batch_size)
    batch = jax.tree.map(lambda x, p=places: x[p % len(chosen)], prompts)
    fillers = len(problems) + np.arange(batch_size - len(rows))
    ids = np.concatenate([rows, fillers]).astype(np.int32)
    batch = dataclasses.replace(batch, ids=ids)
    rollout = jax.device_get(generate(params, batch, key))
    written = _verified(
      jax.tree.map(lambda x, r=rows: x[: len(r) * group_size], rollout),
      {int(row): problems[row] for row in rows},
      tokenizer,
      task,
    )
    add_verdicts(written, plain, segment, judges)
    recorded.append(path, written)
    done += len(rows)
    yield done, len(chosen)


def _verified(
  rollout: Rollout,
  problems: Mapping[int, Problem],
  tokenizer: tokenizers.Tokenizer,
  task: Task,
) -> list[dict[str, Any]]:
  """Returns the rows of a rollout of these problems, not yet judged."""
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
  """Adds steps and verdicts to the rows that are to be judged.

  These are the wrong responses of groups that have right ones as well.

  Args:
    rows: of whole groups.
    problems: by number, as the judges are to read them.
    segment: cuts responses.
    judges: by name; none: nothing is cut.
  """
  solved = {r["problem"] for r in rows if recorded.is_right(r["reward"])}
  asked = [
    row
    for row in rows
    if row["problem"] in solved and not recorded.is_right(row["reward"])
  ]
  if not judges:
    return
  for row in asked:
    row["steps"] = segment(row["response"])
  reasonings = [
    Reasoning(
      problems[row["problem"]],
      [row["response"][start:end] for start, end in row["steps"]],
    )
    for row in asked
  ]
  for name, judge_steps in judges.items():
    for row, right in zip(asked, judge_steps(reasonings), strict=True):
      row["verdicts"][name] = right


def report(config: Config, path: Path, every: float = 0.05) -> None:
  """Runs `collect`, with a line now and then."""
  said = 0
  for done, number in collect(config, path):
    if done == number or done - said >= every * number:
      print(f"{done}/{number} prompts sampled and judged", flush=True)
      said = done


def define_flags() -> None:
  """Defines what the command takes; importing this file defines nothing."""
  config_flags.DEFINE_config_file("config", None, "of the run")
  flags.DEFINE_string("output", None, "the file, JSON lines")
  flags.mark_flags_as_required(["config", "output"])


@command("interrupted; the same command goes on from its last batch")
def main() -> int:
  """Writes the file; returns the exit status."""
  path = Path(flags.FLAGS.output)
  check_kind(flags.FLAGS.config)
  report(flags.FLAGS.config, path)
  print(f"done: {path}")
  return 0


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  define_flags()
  app.run(main, flags_parser=parse_flags)
