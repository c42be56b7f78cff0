"""Find or collect the recorded rollouts that an offline run trains on.

A run with offline.enabled trains on responses that the model of model.path
sampled once. They are in the file offline.rollouts. Without that setting the
run collects them into its own directory before it begins, which needs a single
process. entrojax.collect uses `collect` too. rollouts/recorded.py describes the
file.
"""

from collections.abc import Callable, Iterable, Iterator
import dataclasses
from pathlib import Path

import jax
from ml_collections import ConfigDict as Config
import numpy as np

from entrojax.assembly.data import (
  drop_long,
  load_problems,
  load_tokenizer,
  make_template,
  open_task,
  rollout_settings,
  training_rows,
)
from entrojax.assembly.methods import make_judges, make_segmenter
from entrojax.assembly.model import model_folder
from entrojax.assembly.samplers import build_sampler
from entrojax.data.prompt_stream import encode_prompts
from entrojax.rollouts import recorded
from entrojax.rollouts.recording import add_verdicts, response_lines
from entrojax.system.workdir import hold_file
from entrojax.types import Task

_KEY = 2**32 - 3  # no rollout step has this number


def find_rollouts(
  config: Config,
  path: Path,
  report: Callable[[str], None],
  task: Task | None = None,
) -> Path | None:
  """Return the file that an offline run trains on; collect it if necessary.

  Args:
    config: a checked config.
    path: where to collect rollouts if the config names no file.
    report: called with lines of progress.
    task: the task; None: the config names it.

  Returns:
    The file; None if the run is not offline.

  Raises:
    ValueError: several processes would have to collect, or a setting cannot
      work.
  """
  if not config.offline.enabled:
    return None
  if config.offline.rollouts:
    return Path(config.offline.rollouts)
  if jax.process_count() > 1:
    raise ValueError(
      "offline.rollouts is not set, and several processes cannot collect "
      "rollouts: run entrojax.collect in one process first"
    )
  for line in progress_lines(collect(config, path, task)):
    report(line)
  return path


def collect(
  config: Config, path: Path, task: Task | None = None
) -> Iterator[tuple[int, int]]:
  """Sample, verify and judge rollouts, and write them batch by batch.

  An incomplete file is resumed. With the same model and settings, the responses
  to a problem depend only on the seed and on the problem's row.

  Args:
    config: the config of the later run, checked by check_offline.
    path: the file; the answers of a chat_model are kept beside it.
    task: the task; None: the config names it.

  Yields:
    (prompts done, prompts in all): once before sampling, then after each batch.

  Raises:
    ValueError: a setting cannot work, or the file was begun with other
      settings or is being written by another process.
  """
  with hold_file(path):
    yield from _collect(config, path, task)


def _collect(
  config: Config, path: Path, task: Task | None
) -> Iterator[tuple[int, int]]:
  """Do the work of `collect` while the file is locked."""
  folder = model_folder(config.model.path)
  task = task or open_task(config)
  segment = make_segmenter(config)
  judges = make_judges(
    config, task, cache=path.with_name(path.name + ".verdicts")
  )
  tokenizer = load_tokenizer(config, folder)
  split = config.task.train_split
  problems = load_problems(task, split, make_template(config, folder))
  plain = task.load(split)  # judges read the prompts without a template
  rows = training_rows(config, plain)
  kept = drop_long(config, [problems[row] for row in rows], tokenizer)
  rows = rows[kept]
  chosen = np.random.default_rng(config.seed).permutation(rows)
  chosen = chosen[: config.offline.num_prompts]
  prompts = encode_prompts(
    [problems[row] for row in chosen], tokenizer, config.rollout.prompt_length
  )
  generate, params = build_sampler(config, folder, tokenizer)
  key = jax.random.fold_in(jax.random.key(config.seed), _KEY)
  batch_size, group_size = config.rollout.num_prompts, config.rollout.group_size
  done = recorded.begin(
    path,
    rollout_settings(config, folder),
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
    lines = response_lines(
      jax.tree.map(lambda x, r=rows: x[: len(r) * group_size], rollout),
      {int(row): problems[row] for row in rows},
      tokenizer,
      task.verify,
    )
    add_verdicts(lines, plain, segment, judges)
    recorded.append(path, lines)
    done += len(rows)
    yield done, len(chosen)


def progress_lines(
  progress: Iterable[tuple[int, int]], every: float = 0.05
) -> Iterator[str]:
  """Turn the progress of `collect` into lines of text.

  Args:
    progress: (prompts done, prompts in all).
    every: fraction of all prompts between two lines.
  """
  last = 0
  for done, number in progress:
    if done == number or done - last >= every * number:
      yield f"{done}/{number} prompts sampled and judged"
      last = done
