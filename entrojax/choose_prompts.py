r"""Choose a subset of the training prompts of a run.

    python -m entrojax.choose_prompts --config=configs/countdown.py \
        --output=runs/subset.jsonl --size=600 --by=embedding
    python -m entrojax.main --config=configs/countdown.py \
        --workdir=runs/subset --config.task.subset=runs/subset.jsonl

--by names the rule:

embedding  The prompts are embedded and cut into --size clusters, and the prompt
           nearest to the centre of each is chosen: see answers/diversity.py.
           --embedding=ngrams needs no model; minilm embeds sentences
           (pip install -e '.[semantic]').
answers    The prompts with the highest semantic entropy in --table, a file of
           entrojax.prompt_entropy: the model gives them the most different
           answers.
random     A random set, as a baseline for the other rules.

The prompts are chosen from the whole training split. The same command always
chooses the same prompts, but it refuses to overwrite --output. It prints
distinct-n (the share of different n-grams, n = 1, 2, 3) of the chosen prompts
and, for comparison, of random sets of the same size.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict as Config
from ml_collections import config_flags
import numpy as np

from entrojax.answers import diversity, embeddings
from entrojax.assembly.check_values import check_kind
from entrojax.assembly.data import open_task
from entrojax.data import prompt_subset
from entrojax.data.curriculum import read_entropies
from entrojax.system.command_line import command
from entrojax.system.workdir import hold_file
from entrojax.types import Problem

BY = ("embedding", "answers", "random")
EMBEDDINGS = {
  "ngrams": lambda: diversity.ngram_embedding,
  "minilm": embeddings.minilm,
}
_RANDOM_SETS = 5  # for the comparison of distinct-n

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "the settings of the run, a file such as configs/grpo.py",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output",
  "",
  "the JSONL file to write, for --config.task.subset",
  flag_values=FLAGS,
)
_SIZE = flags.DEFINE_integer(
  "size", None, "the number of prompts to choose", flag_values=FLAGS
)
_BY = flags.DEFINE_enum(
  "by",
  "embedding",
  BY,
  "one prompt of each cluster of embeddings, those with the most different "
  "answers, or random ones",
  flag_values=FLAGS,
)
_EMBEDDING = flags.DEFINE_enum(
  "embedding",
  "ngrams",
  sorted(EMBEDDINGS),
  "the embedding of prompts, for --by=embedding",
  flag_values=FLAGS,
)
_TABLE = flags.DEFINE_string(
  "table",
  None,
  "a file of entrojax.prompt_entropy, for --by=answers",
  flag_values=FLAGS,
)


def choose(
  config: Config,
  problems: Sequence[Problem],
  *,
  size: int,
  by: str,
  embedding: str = "ngrams",
  table: str | None = None,
) -> np.ndarray:
  """Choose rows of the training split.

  Args:
    config: the settings of the run. Its seed and its task are read; the table
      must have been made for the same task.
    problems: the N problems of the training split.
    size: the number of rows to choose, 1 <= size <= N.
    by: the rule, one of BY.
    embedding: one of EMBEDDINGS, for the rule "embedding".
    table: a file of entrojax.prompt_entropy, for the rule "answers".

  Returns:
    The chosen rows, i64[size], ascending.

  Raises:
    ValueError: there are fewer problems than `size`, or the table belongs to
      other problems.
    ImportError: minilm is not installed.
  """
  if not 1 <= size <= len(problems):
    raise ValueError(
      f"--size must lie in [1, {len(problems)} problems], got {size}"
    )
  if by == "random":
    return _random_rows(len(problems), size, config.seed)
  if by == "embedding":
    embed = EMBEDDINGS[embedding]()
    points = np.asarray(embed([problem.prompt for problem in problems]))
    return diversity.spread_rows(points, size, seed=config.seed)
  if table is None:
    raise ValueError(
      "--by=answers needs --table, a file of entrojax.prompt_entropy"
    )
  entropies = read_entropies(Path(table), config.task, problems)
  number = int(np.isfinite(entropies).sum())
  if size > number:
    raise ValueError(
      f"--size must be at most {number}, the number of prompts for which "
      f"--table {table} has an entropy, got {size}"
    )
  return np.sort(np.argsort(-entropies, kind="stable")[:size])  # NaN is last


def _random_rows(num_rows: int, size: int, seed: int) -> np.ndarray:
  """Sample rows without replacement, i64[size], ascending."""
  rng = np.random.default_rng(seed)
  return np.sort(rng.choice(num_rows, size, replace=False))


def compare_diversity(
  problems: Sequence[Problem], rows: np.ndarray, seed: int
) -> Mapping[str, tuple[float, float, float]]:
  """Compute distinct-n of a subset, and of random sets of the same size.

  Args:
    problems: the training split.
    rows: i64[size], the rows of the subset.
    seed: the run's seed.

  Returns:
    (the subset's, mean over random sets, their standard deviation) by name,
    "distinct-1" to "distinct-3".
  """
  texts = lambda rows: [problems[r].prompt for r in rows]
  # `seed` itself gives the set of --by=random
  seeds = range(seed + 1, seed + 1 + _RANDOM_SETS)
  comparison = {}
  for n in (1, 2, 3):
    others = [
      diversity.distinct_n(texts(_random_rows(len(problems), len(rows), s)), n)
      for s in seeds
    ]
    comparison[f"distinct-{n}"] = (
      diversity.distinct_n(texts(rows), n),
      float(np.mean(others)),
      float(np.std(others, ddof=1)),
    )
  return comparison


@command(
  FLAGS,
  required=("config", "output", "size"),
  settings="configs/default.py",
  interrupted="Interrupted. Nothing was written.",
)
def main() -> None:
  """Write the subset and print how diverse it is."""
  config, output, by = _CONFIG.value, Path(_OUTPUT.value), _BY.value
  options: dict[str, Any] = {"size": _SIZE.value, "by": by}
  if by == "embedding":
    options["embedding"] = _EMBEDDING.value
  if by == "answers":
    options["table"] = _TABLE.value
  check_kind(config)
  if output.exists():
    raise ValueError(f"{output} exists already: choose another --output")
  task = config.task
  if not task.name:
    raise ValueError("task.name is not set")
  problems = open_task(config).load(task.train_split)
  print(f"choosing from {len(problems)} prompts by {by}", flush=True)
  with hold_file(output):
    rows = choose(config, problems, **options)
    settings = {"seed": config.seed, **options, "task": task.to_dict()}
    prompt_subset.write(output, rows, problems, settings)
  print(f"{len(rows)} of {len(problems)} prompts by {by}")
  comparison = compare_diversity(problems, rows, config.seed)
  for name, (own, mean, deviation) in comparison.items():
    print(f"{name} {own:.4f}, of random sets {mean:.4f} ± {deviation:.4f}")
  print(f"done: --config.task.subset={output}")


if __name__ == "__main__":
  main()
