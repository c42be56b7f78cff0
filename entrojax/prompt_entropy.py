"""The semantic entropy of every training prompt, under the initial policy.

    python -m entrojax.prompt_entropy --config=configs/countdown.py \
        --output=runs/prompts.jsonl

Samples some answers to each problem of the config's training split as the run
would, sorts them by meaning (config.clusters) and writes a table of prompts;
see prompt_table.py. Stopped, the same command goes on. The policy is
config.model.path, a group has --samples answers.
"""

from collections.abc import Iterator, Mapping
import copy
import dataclasses
import functools
from pathlib import Path
from typing import Any

from absl import app, flags, logging
import jax
from ml_collections import ConfigDict as Config
from ml_collections import config_flags
import numpy as np

from entrojax.assembly.check_settings import check_kind
from entrojax.assembly.data import load_problems, make_clusterer
from entrojax.assembly.run import build
from entrojax.data import prompt_table
from entrojax.data.prompt_stream import encode_prompts
from entrojax.entropy.semantic import semantic_entropy
from entrojax.rollout_step import verify_rollout
from entrojax.system.command_line import command, parse_flags
from entrojax.types import Rollout

_KEY = 2**32 - 2  # no rollout step has this number


def write_table(
  config: Config, path: Path, *, num_samples: int, estimator: str = "rao"
) -> Iterator[tuple[int, int]]:
  """Writes the table, batch by batch; goes on with an unfinished one.

  A prompt's answers depend on the seed and on its row alone.

  Args:
    config: of the run that is to be; left as it is.
    path: the table.
    num_samples: M, answers to each prompt.
    estimator: see `semantic_entropy`.

  Yields:
    (rows written, rows in all), first before anything is sampled.

  Raises:
    ValueError: a setting cannot work, or the file is of other settings.
  """
  config = copy.deepcopy(config)
  config.rollout.group_size = num_samples
  config.curriculum.table = None  # which this one is to be
  config.task.subset = None  # a table is of all prompts
  entropy_of = jax.jit(functools.partial(semantic_entropy, estimator=estimator))
  nothing = np.zeros((1, num_samples), np.int32)
  entropy_of(nothing, np.zeros(nothing.shape, np.float32))  # knows its names
  run = build(config)
  data = run.data._replace(cluster=make_clusterer(config, run.data.task))
  problems = load_problems(data.task, config.task.train_split, data.template)
  prompts = encode_prompts(
    problems, data.tokenizer, config.rollout.prompt_length
  )
  key = jax.random.fold_in(jax.random.key(config.seed), _KEY)
  batch_size, num_rows = config.rollout.num_prompts, len(problems)
  done = prompt_table.begin(
    path,
    settings_of(config, estimator),
    num_rows=num_rows,
    batch_size=batch_size,
  )
  yield done, num_rows
  while done < num_rows:
    # the last batch is filled up with repeats, so that shapes never change
    ids = np.arange(done, done + batch_size, dtype=np.int32)
    rows = ids % num_rows
    batch = jax.tree.map(lambda x, r=rows: x[r], prompts)
    batch = dataclasses.replace(batch, ids=ids)
    rollout = jax.device_get(
      run.functions.generate(run.state.params, batch, key)
    )
    responses = verify_rollout(data, rollout, [problems[r] for r in rows], 0)
    columns = {
      "row": ids,
      "semantic_entropy": entropy_of(responses.clusters, responses.log_probs),
      "entropy": _token_entropy(rollout, num_samples),
      "accuracy": (np.asarray(responses.correctness) >= 1).mean(axis=1),
    }
    lists = {name: np.asarray(x).tolist() for name, x in columns.items()}
    written = [
      dict(zip(lists, values, strict=True))
      for values in zip(*lists.values(), strict=True)
    ][: num_rows - done]
    prompt_table.append(path, written)
    done += len(written)
    yield done, num_rows


def settings_of(config: Config, estimator: str) -> dict[str, Any]:
  """Returns what the numbers of a table depend on."""
  sections = {
    name: dict(config[name])
    for name in ("model", "task", "prompt", "rollout", "clusters")
  }
  return {"seed": config.seed, "estimator": estimator, **sections}


def _token_entropy(rollout: Rollout, group_size: int) -> np.ndarray:
  """Returns the token-mean entropy of each group, nats, f[Q]."""
  total, count = (
    np.asarray(x).reshape(-1, group_size * x.shape[1]).sum(axis=1)
    for x in (rollout.entropy, rollout.response_mask)
  )
  return total / np.maximum(count, 1)


def summary(columns: Mapping[str, np.ndarray]) -> str:
  """Describes a table in a line."""
  entropy = columns["semantic_entropy"]
  quartiles = np.quantile(entropy, (0.25, 0.5, 0.75))
  return (
    f"{len(entropy)} prompts: semantic entropy {entropy.mean():.3f} nats, "
    f"quartiles {' '.join(f'{q:.3f}' for q in quartiles)}, 0 for "
    f"{np.mean(entropy == 0):.1%}; token entropy "
    f"{columns['entropy'].mean():.3f} nats; accuracy "
    f"{columns['accuracy'].mean():.3f}"
  )


def define_flags() -> None:
  """Defines what the command takes; importing this file defines nothing."""
  config_flags.DEFINE_config_file("config", None, "of the run")
  flags.DEFINE_string("output", None, "the table, a JSONL file")
  flags.DEFINE_integer("samples", 8, "answers to each prompt")
  flags.DEFINE_string(
    "estimator", "rao", "of semantic entropy: rao, count, mc, mc_unnormalised"
  )
  flags.mark_flags_as_required(["config", "output"])


@command("interrupted; the same command goes on from its last batch")
def main() -> int:
  """Writes the table; returns the exit status."""
  given = flags.FLAGS
  path, said = Path(given.output), 0
  check_kind(given.config)
  for done, num_rows in write_table(
    given.config,
    path,
    num_samples=given.samples,
    estimator=given.estimator,
  ):
    if done == num_rows or done - said >= num_rows / 20:
      print(f"{done}/{num_rows} prompts", flush=True)
      said = done
  print(summary(prompt_table.read(path).columns))
  print(f"done: {path}")
  return 0


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  define_flags()
  app.run(main, flags_parser=parse_flags)
