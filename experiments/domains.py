"""Compare the fall of entropy on math-like tasks and on puzzle-like tasks.

    python -m entrojax.sweep --config=experiments/domains.py \\
        --workdir=runs/domains
    python -m experiments.domains runs/domains

Plain GRPO starts from entrojax/bases/logic, which was trained on all of these
tasks in the same way, and makes the same number of updates on each task, for
three seeds. The first command makes the runs, the second one prints a table.
It has, as mean and standard deviation over the seeds:

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
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict as Config
import numpy as np

from configs import grpo
from entrojax.reporting.find_runs import find_runs
from entrojax.reporting.run_logs import RunLog, read_run
from entrojax.system.command_line import command

NUM_STEPS = 20  # rollout steps of a run
NUM_SEEDS = 3

FLAGS = flags.FlagValues()


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


def get_config() -> Config:
  """Return the settings of GRPO that all runs share."""
  config = grpo.get_config("demo")
  config.update(
    {
      "num_rollout_steps": NUM_STEPS,
      "model": {"path": "bases/logic"},
      "evaluation": {"split": "validation[:16]", "num_samples": 1},
      "log": {"every": NUM_STEPS},
      "checkpoint": {"every": 0},
    }
  )
  return config


def get_hyper(hyper):
  """List the runs: each task with each seed."""
  tasks = [
    {
      "config.task.name": domain.task,
      "config.task.difficulty": domain.difficulty,
      "config.rollout.prompt_length": domain.prompt_length,
      "config.rollout.response_length": domain.response_length,
    }
    for domain in DOMAINS.values()
  ]
  return hyper.product([tasks, hyper.sweep("config.seed", range(NUM_SEEDS))])


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


def courses_by_domain(runs: Sequence[RunLog]) -> dict[str, list[Course]]:
  """Compute the course of each run, by domain in the order of DOMAINS.

  Raises:
    ValueError: a domain has fewer than two runs, so it has no spread.
  """
  courses: dict[str, list[Course]] = {name: [] for name in DOMAINS}
  for run in runs:
    if run.task in courses:
      courses[run.task].append(course_of(run.rows))
  for name, own in courses.items():
    if len(own) < 2:
      raise ValueError(
        f"there are {len(own)} runs on {name}, and a spread needs at least 2: "
        "run the sweep first (python -m experiments.domains --help)"
      )
  return courses


@command(FLAGS, arguments={"WORKDIR": "the work directory of the sweep"})
def main(workdir: str) -> None:
  """Print the table of the sweep's runs."""
  runs = [read_run(name, path) for name, path in find_runs([workdir]).items()]
  print(format_table(courses_by_domain(runs)))


if __name__ == "__main__":
  main()
