"""Compare the fall of entropy on math-like tasks and on puzzle-like tasks.

    python -m experiments.domains [--steps=20] [--seeds=3]

Plain GRPO starts from entrojax/bases/logic, which was trained on all of these
tasks in the same way, and makes the same number of updates on each task, for
each seed. The table has, as mean and standard deviation over the seeds:

  start   entropy of the first rollout batch, averaged over tokens, nats
  fall    negative slope of a least-squares line through the entropy of the
          updates, in millinats per update and in percent of the start
  reward  mean of the first and of the last fifth of the rollout steps

Two tasks differ if their means differ by more than two standard errors. The
kinds are separated if every math-like task differs from every puzzle-like one,
always in the same direction.
"""

from collections.abc import Mapping, Sequence
import itertools
from pathlib import Path
import tempfile
from typing import NamedTuple

from absl import flags
import jax
from ml_collections import ConfigDict as Config
import numpy as np

from configs import grpo
from entrojax.system.command_line import command

FLAGS = flags.FlagValues()
_STEPS = flags.DEFINE_integer(
  "steps", 20, "rollout steps of a run, at least 2", flag_values=FLAGS
)
_SEEDS = flags.DEFINE_integer(
  "seeds", 3, "the number of runs on each task, at least 3", flag_values=FLAGS
)


class Domain(NamedTuple):
  """A task at a level, and its kind."""

  task: str
  difficulty: int
  kind: str  # math or puzzle
  prompt_length: int  # tokens
  response_length: int  # tokens


DOMAINS = {
  "arithmetic_chain#2": Domain("arithmetic_chain", 2, "math", 8, 14),
  "arithmetic_chain#3": Domain("arithmetic_chain", 3, "math", 12, 22),
  "sudoku#3": Domain("sudoku", 3, "puzzle", 20, 20),
  "knights_and_knaves#1": Domain("knights_and_knaves", 1, "puzzle", 24, 6),
}


class Course(NamedTuple):
  """The course of a run: how its entropy falls and its reward changes."""

  start: float  # nats
  fall: float  # nats per update, positive = falls
  relative_fall: float  # the fall per update as a fraction of the start
  first_reward: float  # mean reward of the first fifth of the rollout steps
  last_reward: float  # mean reward of the last fifth


def domain_config(domain: Domain, seed: int, steps: int) -> Config:
  """Return GRPO's settings on a task, from the logic base."""
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
  """Compute the course of a run from its metrics.

  Args:
    rows: the lines of metrics.jsonl; lines of evaluations are ignored.
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


def compare(one: np.ndarray, other: np.ndarray) -> int:
  """Return 1 if the first values are higher, -1 if lower, 0 if undecided.

  Undecided means that the means differ by at most two standard errors.
  """
  error = sum(x.var(ddof=1) / len(x) for x in (one, other)) ** 0.5
  difference = one.mean() - other.mean()
  return int(np.sign(difference)) if abs(difference) > 2 * error else 0


def verdict(values: Mapping[str, np.ndarray], quantity: str) -> str:
  """State whether a quantity separates the two kinds of task.

  Args:
    values: domain -> the quantity for each seed.
    quantity: its name, for the sentence.
  """
  math, puzzle = (
    [name for name in values if DOMAINS[name].kind == kind]
    for kind in ("math", "puzzle")
  )
  directions = {
    compare(values[one], values[other])
    for one, other in itertools.product(math, puzzle)
  }
  if directions == {1}:
    return f"{quantity}: higher in every math-like task"
  if directions == {-1}:
    return f"{quantity}: higher in every puzzle-like task"
  return f"{quantity}: does not separate the kinds"


def format_table(courses: Mapping[str, Sequence[Course]]) -> str:
  """Format the table and the verdicts.

  Args:
    courses: domain -> the course for each seed.
  """

  def values(runs: Sequence[Course], field: str) -> np.ndarray:
    return np.array([getattr(course, field) for course in runs])

  def cell(runs: Sequence[Course], field: str, scale: float) -> str:
    x = scale * values(runs, field)
    return f"{x.mean():10.4f} ± {x.std(ddof=1):.4f}"

  lines = [
    f"{'task':<22}{'kind':<8}{'start, nats':>19}{'fall, millinats':>19}"
    f"{'fall, %':>19}{'reward':>17}"
  ]
  for name, runs in courses.items():
    first, last = (
      values(runs, f"{when}_reward").mean() for when in ("first", "last")
    )
    lines.append(
      f"{name:<22}{DOMAINS[name].kind:<8}{cell(runs, 'start', 1):>19}"
      f"{cell(runs, 'fall', 1e3):>19}{cell(runs, 'relative_fall', 100):>19}"
      f"{first:>9.3f} to {last:.3f}"
    )
  for field, quantity in (
    ("start", "entropy at the start"),
    ("fall", "fall per update"),
    ("relative_fall", "fall as a share of the start"),
  ):
    by_domain = {name: values(runs, field) for name, runs in courses.items()}
    lines.append(verdict(by_domain, quantity))
  return "\n".join(lines)


@command(FLAGS)
def main() -> None:
  """Train on all tasks and print the table."""
  if _SEEDS.value < 3:
    raise ValueError(
      f"--seeds must be at least 3, for a spread; got {_SEEDS.value}"
    )
  if _STEPS.value < 2:
    raise ValueError(
      f"--steps must be at least 2, for a slope; got {_STEPS.value}"
    )
  from entrojax.reporting.run_logs import read_run
  from entrojax.train import train

  courses: dict[str, list[Course]] = {}
  with tempfile.TemporaryDirectory() as folder:
    # runs on one task differ in their seed only: they share compiled graphs
    jax.config.update("jax_compilation_cache_dir", f"{folder}/cache")
    for name, domain in DOMAINS.items():
      for seed in range(_SEEDS.value):
        workdir = Path(folder) / f"{name}-{seed}"
        print(f"\n{name}, seed {seed}", flush=True)
        if train(domain_config(domain, seed, _STEPS.value), workdir):
          raise KeyboardInterrupt
        course = course_of(read_run(name, workdir).rows)
        courses.setdefault(name, []).append(course)
  print(format_table(courses))


if __name__ == "__main__":
  main()
