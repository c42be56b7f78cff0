"""The command that chooses a subset of the training prompts.

    python -m entrojax.choose_prompts --config=configs/countdown.py \
        --output=runs/subset.jsonl --size=600 --by=embedding
    python -m entrojax.main --config=configs/countdown.py \
        --workdir=runs/subset --config.task.subset=runs/subset.jsonl

--by says how:

embedding  one prompt of each of --size clusters, so that they cover all: see
           diversity.py. --embedding=ngrams needs no model, minilm reads
           sentences (pip install -e '.[semantic]')
answers    those to which the base model gives the most different answers:
           highest semantic entropy in --table, which prompt_entropy.py makes
random     any: what the others are to be compared with

The same command chooses the same prompts. It prints distinct-n of the chosen
prompts and of random sets of their size.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict as Config
from ml_collections import config_flags
import numpy as np

from entrojax.answers import diversity, embeddings
from entrojax.assembly.check_settings import check_kind
from entrojax.data import prompt_subset
from entrojax.data.curriculum import read_entropies
from entrojax.system.command_line import command, parse_flags
from entrojax.tasks import make_task
from entrojax.types import Problem

BY = ("embedding", "answers", "random")
EMBEDDINGS = {
  "ngrams": lambda: diversity.ngram_embedding,
  "minilm": embeddings.minilm,
}
_RANDOM_SETS = 5  # to compare with


def choose(
  config: Config,
  problems: Sequence[Problem],
  *,
  size: int,
  by: str,
  embedding: str = "ngrams",
  table: str | None = None,
) -> np.ndarray:
  """Returns the chosen rows of the training split, i64[size], rising.

  Args:
    config: its seed draws, its task has to be the table's.
    problems: N, the training split.
    size: of the subset, 1 <= size <= N.
    by: one of BY.
    embedding: one of EMBEDDINGS, for "embedding".
    table: of prompts, for "answers".

  Raises:
    ValueError: there are fewer problems, or the table is not theirs.
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
    raise ValueError("--by=answers needs --table, which prompt_entropy makes")
  entropies = read_entropies(Path(table), config.task, problems)
  return np.sort(np.argsort(-entropies, kind="stable")[:size])


def _random_rows(num_rows: int, size: int, seed: int) -> np.ndarray:
  rng = np.random.default_rng(seed)
  return np.sort(rng.choice(num_rows, size, replace=False))


def compared(
  problems: Sequence[Problem], rows: np.ndarray, seed: int
) -> Mapping[str, tuple[float, float, float]]:
  """Returns distinct-n of a subset, and of random ones: mean and deviation."""
  texts = lambda rows: [problems[r].prompt for r in rows]
  seeds = range(seed + 1, seed + 1 + _RANDOM_SETS)  # seed is --by=random's
  found = {}
  for n in (1, 2, 3):
    others = [
      diversity.distinct_n(texts(_random_rows(len(problems), len(rows), s)), n)
      for s in seeds
    ]
    found[f"distinct-{n}"] = (
      diversity.distinct_n(texts(rows), n),
      float(np.mean(others)),
      float(np.std(others, ddof=1)),
    )
  return found


def define_flags() -> None:
  """Defines what the command takes; importing this file defines nothing."""
  config_flags.DEFINE_config_file("config", None, "of the run")
  flags.DEFINE_string("output", None, "the subset, a JSONL file")
  flags.DEFINE_integer("size", None, "prompts to choose")
  flags.DEFINE_enum("by", "embedding", BY, "how they are chosen")
  flags.DEFINE_enum("embedding", "ngrams", sorted(EMBEDDINGS), "of prompts")
  flags.DEFINE_string("table", None, "of prompts, for --by=answers")
  flags.mark_flags_as_required(["config", "output", "size"])


@command("interrupted; nothing was written")
def main() -> int:
  """Writes the subset; returns the exit status."""
  given = flags.FLAGS
  config = given.config
  how: dict[str, Any] = {"size": given.size, "by": given.by}
  if given.by == "embedding":
    how["embedding"] = given.embedding
  if given.by == "answers":
    how["table"] = given.table
  check_kind(config)
  if Path(given.output).exists():
    raise ValueError(f"{given.output} is there: choose another --output")
  task = config.task
  if not task.name:
    raise ValueError("task.name is not set")
  problems = make_task(task.name, task.data_dir, task.difficulty).load(
    task.train_split
  )
  print(f"{len(problems)} prompts by {given.by}", flush=True)
  rows = choose(config, problems, **how)
  settings = {"seed": config.seed, **how, "task": task.to_dict()}
  prompt_subset.write(Path(given.output), rows, problems, settings)
  print(f"{len(rows)} of {len(problems)} prompts by {given.by}")
  for name, (own, mean, deviation) in compared(
    problems, rows, config.seed
  ).items():
    print(f"{name} {own:.4f}, of random sets {mean:.4f} ± {deviation:.4f}")
  print(f"done: --config.task.subset={given.output}")
  return 0


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  define_flags()
  app.run(main, flags_parser=parse_flags)
