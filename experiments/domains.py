"""Does the entropy of math-like tasks fall as that of puzzle-like ones does?

    python -m experiments.domains [--steps=20] [--seeds=3]

From entrojax/bases/logic, which has learnt all of them in the same way, plain
GRPO takes the same number of updates on each task, for each seed. The table
has, mean and standard deviation over the seeds:

  start   token-mean entropy of the first rollouts, nats
  fall    slope of a least-squares line through the entropy of the updates,
          millinats an update; and the same in percent of the start
  reward  of the first and of the last fifth of the rollout steps

Two tasks differ if their means do by more than two standard errors. The kinds
are apart if every math-like task differs from every puzzle-like one, and always
in the same direction.
"""

from collections.abc import Mapping, Sequence
import itertools
from pathlib import Path
import tempfile
from typing import NamedTuple

from absl import app, flags, logging
import jax
from ml_collections import ConfigDict as Config
import numpy as np

from configs import grpo

_STEPS = flags.DEFINE_integer("steps", 20, "rollout steps of a run")
_SEEDS = flags.DEFINE_integer("seeds", 3, "runs on each task, at least 3")


class Domain(NamedTuple):
  """A task at a level, and which kind it is of."""

  task: str
  difficulty: int
  kind: str
  prompt_length: int  # tokens
  response_length: int


DOMAINS = {
  "arithmetic_chain#2": Domain("arithmetic_chain", 2, "math", 8, 14),
  "arithmetic_chain#3": Domain("arithmetic_chain", 3, "math", 12, 22),
  "sudoku#3": Domain("sudoku", 3, "puzzle", 20, 20),
  "knights_and_knaves#1": Domain("knights_and_knaves", 1, "puzzle", 24, 6),
}


class Course(NamedTuple):
  """What a run showed."""

  start: float  # nats
  fall: float  # nats an update, positive = falls
  relative_fall: float  # of the start, an update
  first_reward: float
  last_reward: float


def domain_config(domain: Domain, seed: int, steps: int) -> Config:
  """Returns GRPO on a task from the logic base."""
  config = grpo.get_config("demo")
  config.update(
    {
      "seed": seed,
      "num_rollout_steps": steps,
      "model": {"path": "bases/logic"},
      "task": {"name": domain.task, "difficulty": domain.difficulty},
      "rollout": {
        "prompt_length": domain.prompt_length,
        "response_length": domain.response_length,
      },
      "evaluation": {"split": "validation[:16]", "num_samples": 1},
      "log": {"every": steps},
      "checkpoint": {"every": 0},
    }
  )
  return config


def course_of(rows: Sequence[Mapping]) -> Course:
  """Measures a run by the lines of its metrics.

  Args:
    rows: of metrics.jsonl; those of evaluations are passed over.
  """
  rows = [row for row in rows if "actor/entropy" in row]
  steps = np.array([row["step"] for row in rows])
  entropy = np.array([row["actor/entropy"] for row in rows])
  reward = np.array([row["critic/rewards/mean"] for row in rows])
  fall = -float(np.polyfit(steps, entropy, 1)[0])
  part = max(1, len(rows) // 5)
  return Course(
    start=float(entropy[0]),
    fall=fall,
    relative_fall=fall / float(entropy[0]),
    first_reward=float(reward[:part].mean()),
    last_reward=float(reward[-part:].mean()),
  )


def direction(one: np.ndarray, other: np.ndarray) -> int:
  """Returns 1 or -1 if the first values are higher or lower, 0: cannot tell.

  By two standard errors of the difference of means.
  """
  error = sum(x.var(ddof=1) / len(x) for x in (one, other)) ** 0.5
  difference = one.mean() - other.mean()
  return int(np.sign(difference)) if abs(difference) > 2 * error else 0


def verdict(values: Mapping[str, np.ndarray], what: str) -> str:
  """Says whether the two kinds are apart in a quantity.

  Args:
    values: domain -> its value for each seed.
    what: it is.
  """
  kinds = [
    [name for name in values if DOMAINS[name].kind == kind]
    for kind in ("math", "puzzle")
  ]
  found = {
    direction(values[one], values[other])
    for one, other in itertools.product(*kinds)
  }
  if found == {1}:
    return f"{what}: higher in every math-like task"
  if found == {-1}:
    return f"{what}: higher in every puzzle-like task"
  return f"{what}: does not part the kinds"


def main(argv: Sequence[str]) -> None:
  del argv
  if _SEEDS.value < 3:
    raise app.UsageError("--seeds must be at least 3: spread is over them")
  if _STEPS.value < 2:
    raise app.UsageError("--steps must be at least 2: a fall needs two")
  from entrojax.reporting.run_logs import read_run
  from entrojax.train import train

  courses: dict[str, list[Course]] = {}
  with tempfile.TemporaryDirectory() as folder:
    # runs of a task differ in their seed alone: compiled once
    jax.config.update("jax_compilation_cache_dir", f"{folder}/cache")
    for name, domain in DOMAINS.items():
      for seed in range(_SEEDS.value):
        workdir = Path(folder) / f"{name}-{seed}"
        print(f"\n{name}, seed {seed}", flush=True)
        if train(domain_config(domain, seed, _STEPS.value), workdir):
          raise SystemExit("interrupted")
        course = course_of(read_run(name, workdir).rows)
        courses.setdefault(name, []).append(course)
  print(table(courses))


def table(courses: Mapping[str, Sequence[Course]]) -> str:
  """Returns the table and the verdicts."""

  def values(found: Sequence[Course], field: str) -> np.ndarray:
    return np.array([getattr(course, field) for course in found])

  def cell(found: Sequence[Course], field: str, scale: float) -> str:
    x = scale * values(found, field)
    return f"{x.mean():10.4f} ± {x.std(ddof=1):.4f}"

  lines = [
    f"{'task':<22}{'kind':<8}{'start, nats':>19}{'fall, millinats':>19}"
    f"{'fall, %':>19}{'reward':>17}"
  ]
  for name, found in courses.items():
    first, last = (
      values(found, f"{when}_reward").mean() for when in ("first", "last")
    )
    lines.append(
      f"{name:<22}{DOMAINS[name].kind:<8}{cell(found, 'start', 1):>19}"
      f"{cell(found, 'fall', 1e3):>19}{cell(found, 'relative_fall', 100):>19}"
      f"{first:>9.3f} to {last:.3f}"
    )
  for field, what in (
    ("start", "entropy at the start"),
    ("fall", "fall an update"),
    ("relative_fall", "fall as a share of the start"),
  ):
    of_domains = {name: values(x, field) for name, x in courses.items()}
    lines.append(verdict(of_domains, what))
  return "\n".join(lines)


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  app.run(main)
