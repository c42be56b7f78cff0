r"""Measure the semantic entropy of every training prompt of a run.

    python -m entrojax.prompt_entropy --config=configs/countdown.py \
        --output=runs/prompts.jsonl

The model of config.model.path answers each problem of the training split
--samples times (8 by default), sampled as the run would sample. A subset that
the config names (task.subset) is ignored. The answers to a problem are
clustered by meaning (config.clusters). The command writes a table with the
semantic entropy, token entropy and accuracy of each prompt, which
data/prompt_table.py describes. A prompt that the run would leave out because it
is too long (prompt.too_long) has no numbers.

An interrupted command resumes when it is started again.
"""

from collections.abc import Iterator, Mapping, Sequence
import copy
import dataclasses
import functools
from pathlib import Path
from typing import Any

from absl import flags
import jax
from ml_collections import ConfigDict as Config
from ml_collections import config_flags
import numpy as np

from entrojax.assembly.check_settings import check_sampling
from entrojax.assembly.check_values import check_kind
from entrojax.assembly.data import (
  drop_long,
  load_problems,
  load_tokenizer,
  make_clusterer,
  make_template,
  open_task,
)
from entrojax.assembly.model import model_folder
from entrojax.assembly.samplers import build_sampler
from entrojax.data import prompt_table
from entrojax.data.prompt_stream import encode_prompts
from entrojax.data.tokenizer import Tokenizer
from entrojax.entropy.semantic import semantic_entropy
from entrojax.rollouts.rewards import (
  decode_responses,
  group_responses,
  verify_responses,
)
from entrojax.system.command_line import command
from entrojax.system.workdir import hold_file
from entrojax.types import Problem, Rollout

_KEY = 2**32 - 2  # folded into the seed; no rollout step has this number

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "the settings of the run, a file such as configs/grpo.py",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output", "", "the table to write, a JSONL file", flag_values=FLAGS
)
_SAMPLES = flags.DEFINE_integer(
  "samples", 8, "the number of answers to each prompt", flag_values=FLAGS
)
_ESTIMATOR = flags.DEFINE_string(
  "estimator",
  "rao",
  "the estimator of semantic entropy: rao, count, mc or mc_unnormalised",
  flag_values=FLAGS,
)


def write_table(
  config: Config, path: Path, *, num_samples: int, estimator: str = "rao"
) -> Iterator[tuple[int, int]]:
  """Write the table batch by batch; resume an unfinished one.

  With the same model and settings, the answers to a prompt depend only on the
  seed and on the prompt's row.

  Args:
    config: the settings of the run; not changed.
    path: the table to write.
    num_samples: M, the number of answers to each prompt.
    estimator: the estimator of semantic entropy; see `semantic_entropy`.

  Yields:
    (rows written, rows in all) before the first batch and after each.

  Raises:
    ValueError: a setting cannot work, or the file was begun with other
      settings or is being written by another process.
  """
  with hold_file(path):
    yield from _write_table(config, path, num_samples, estimator)


def _write_table(
  config: Config, path: Path, num_samples: int, estimator: str
) -> Iterator[tuple[int, int]]:
  """Do the work of `write_table` while the file is locked."""
  config = copy.deepcopy(config)
  config.rollout.group_size = num_samples
  config.curriculum.table = None  # it may name the table that we write here
  config.task.subset = None  # the table has a row for every prompt
  entropy_of = jax.jit(functools.partial(semantic_entropy, estimator=estimator))
  # Called once now: a wrong `estimator` raises before anything is built.
  nothing = np.zeros((1, num_samples), np.int32)
  entropy_of(nothing, np.zeros(nothing.shape, np.float32))
  check_sampling(config)
  folder = model_folder(config.model.path)
  task, tokenizer = open_task(config), load_tokenizer(config, folder)
  cluster = make_clusterer(config, task)
  problems = load_problems(
    task, config.task.train_split, make_template(config, folder)
  )
  problems, is_kept = _replace_long(config, problems, tokenizer)
  prompts = encode_prompts(problems, tokenizer, config.rollout.prompt_length)
  generate, params = build_sampler(config, folder, tokenizer)
  key = jax.random.fold_in(jax.random.key(config.seed), _KEY)
  batch_size, num_rows = config.rollout.num_prompts, len(problems)
  done = prompt_table.begin(
    path,
    table_settings(config, estimator),
    num_rows=num_rows,
    batch_size=batch_size,
  )
  yield done, num_rows
  while done < num_rows:
    # Repeats fill the last batch up, so that shapes never change.
    ids = np.arange(done, done + batch_size, dtype=np.int32)
    rows = ids % num_rows
    batch = jax.tree.map(lambda x, r=rows: x[r], prompts)
    batch = dataclasses.replace(batch, ids=ids)
    rollout = jax.device_get(generate(params, batch, key))
    verdicts = verify_responses(
      [problems[row] for row in rows],
      decode_responses(rollout, tokenizer),
      task.verify,
    )
    responses = group_responses(
      rollout, verdicts, rollout_step=0, cluster=cluster
    )
    columns = {
      "row": ids,
      "semantic_entropy": entropy_of(responses.clusters, responses.log_probs),
      "entropy": _token_entropy(rollout, num_samples),
      "accuracy": (np.asarray(responses.correctness) >= 1).mean(axis=1),
    }
    lists = {name: np.asarray(x).tolist() for name, x in columns.items()}
    table_rows = [
      dict(zip(lists, values, strict=True))
      for values in zip(*lists.values(), strict=True)
    ][: num_rows - done]
    for row in table_rows:
      if not is_kept[row["row"]]:
        row.update(dict.fromkeys(prompt_table.COLUMNS))
    prompt_table.append(path, table_rows)
    done += len(table_rows)
    yield done, num_rows


def _replace_long(
  config: Config, problems: Sequence[Problem], tokenizer: Tokenizer
) -> tuple[list[Problem], np.ndarray]:
  """Replace the problems that the run would leave out by another one.

  Batches then have a row for every problem of the split.

  Returns:
    N problems; and bool[N], whether the run would keep the problem.
  """
  kept = drop_long(config, problems, tokenizer)
  is_kept = np.isin(np.arange(len(problems)), kept)
  return [
    problems[row if keeps else kept[0]] for row, keeps in enumerate(is_kept)
  ], is_kept


def table_settings(config: Config, estimator: str) -> dict[str, Any]:
  """Return the settings that the numbers of a table depend on."""
  sections = {
    name: dict(config[name])
    for name in ("model", "task", "prompt", "rollout", "clusters")
  }
  return {"seed": config.seed, "estimator": estimator, **sections}


def _token_entropy(rollout: Rollout, group_size: int) -> np.ndarray:
  """Return the mean entropy per token of each group, f[Q] in nats."""
  total, count = (
    np.asarray(x).reshape(-1, group_size * x.shape[1]).sum(axis=1)
    for x in (rollout.entropy, rollout.response_mask)
  )
  return total / np.maximum(count, 1)


def summary(columns: Mapping[str, np.ndarray]) -> str:
  """Describe the columns of a table in one line."""
  has_numbers = np.isfinite(columns["semantic_entropy"])
  columns = {name: column[has_numbers] for name, column in columns.items()}
  entropy = columns["semantic_entropy"]
  quartiles = np.quantile(entropy, (0.25, 0.5, 0.75))
  return (
    f"{len(entropy)} prompts: semantic entropy {entropy.mean():.3f} nats, "
    f"quartiles {' '.join(f'{q:.3f}' for q in quartiles)}, 0 for "
    f"{np.mean(entropy == 0):.1%}; token entropy "
    f"{columns['entropy'].mean():.3f} nats; accuracy "
    f"{columns['accuracy'].mean():.3f}"
  )


@command(
  FLAGS,
  required=("config", "output"),
  settings="configs/default.py",
  interrupted=(
    "Interrupted. Run the same command again to resume after the last batch."
  ),
)
def main() -> None:
  """Write the table and print its summary."""
  path = Path(_OUTPUT.value)
  check_kind(_CONFIG.value)
  steps = write_table(
    _CONFIG.value,
    path,
    num_samples=_SAMPLES.value,
    estimator=_ESTIMATOR.value,
  )
  last = 0  # rows written at the last line of progress
  for done, num_rows in steps:
    if done == num_rows or done - last >= num_rows / 20:
      print(f"{done}/{num_rows} prompts", flush=True)
      last = done
  print(summary(prompt_table.read(path).columns))
  print(f"done: {path}")


if __name__ == "__main__":
  main()
