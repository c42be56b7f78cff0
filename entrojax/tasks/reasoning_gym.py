"""Tasks of the package reasoning-gym behind our interface, judged 0 or 1.

`make_task("reasoning_gym/chain_sum", difficulty=2)` draws problems of that
family at the second level of its curriculum and writes them once, each with its
whole entry in JSON, with the builder of all tasks. The package is optional:
`pip install 'entrojax[reasoning-gym]'`.

The package gives partial credit: a long answer that contains the right one, or
a grid with one wrong cell in a hundred, scores 0.99 and more, and some scorers
accept "nan", or anything. Here a response is right if it equals the entry's own
answer, spaces aside; in the families of SCORED, where several answers or forms
of one are right, if the package's scorer gives 1 up to rounding. Entries whose
own answer is not right are left out. If a response has an <answer> tag the last
one is judged, as the package's prompts ask, else the whole response.

Deviation: a threshold of 0.99 on every score would accept such answers.
"""

from collections.abc import Callable, Iterator, Mapping
import difflib
import functools
import importlib
import json
from typing import Any

import numpy as np

from entrojax.tasks import builder
from entrojax.types import Family, Problem, Task, Verdict, Verifier

PREFIX = "reasoning_gym/"
NUM_ENTRIES = 2_048  # drawn for a level, before copies are left out
RIGHT = 1 - 1e-6  # the least score of a right answer

# Several answers or forms are right, and the scorer of version 0.1.25 was read:
# it evaluates nothing, ends soon, and gives 1 to right answers alone.
SCORED = frozenset(
  {
    "advanced_geometry",
    "bitwise_arithmetic",
    "chain_sum",
    "cryptarithm",
    "decimal_arithmetic",
    "decimal_chain_sum",
    "group_anagrams",
    "jugs",
    "kakurasu",
    "number_format",
    "palindrome_generation",
    "palindrome_partitioning",
    "power_function",
    "products",
    "shortest_path",
    "tower_of_hanoi",
    "word_ladder",
  }
)

_EVALUATES = "its scorer evaluates what a model writes"
_NO_ANSWER = "its entries have no answer to check the scorer with"
REFUSED = {
  "boxnet": _NO_ANSWER,
  "composite": "it is a mixture; name one of its members",
  "countdown": f"{_EVALUATES}; use the task countdown",
  "graph_color": _NO_ANSWER,
  "intermediate_integration": _EVALUATES,
  "n_queens": f"{_EVALUATES}; use the task n_queens",
  "propositional_logic": f"{_NO_ANSWER}; use the task propositional_logic",
  "puzzle24": f"{_EVALUATES}; use the task game_of_24",
  "quantum_lock": "its scorer reads letters out of any text",
  "rubiks_cube": _NO_ANSWER,
  "rush_hour": _NO_ANSWER,
  "simple_integration": _EVALUATES,
  "sokoban": "an entry takes seconds to make",
}


def task(name: str, data_dir, difficulty: int) -> Task:
  """Makes the task of one of the package's families.

  Args:
    name: of the family in the package, such as 'chain_sum'.
    data_dir: see builder.load.
    difficulty: the level of its curriculum, from 1; the only one, 1, of a
      family without a curriculum.

  Raises:
    ValueError: the package is missing, or has no such family or level, or it
      is one of REFUSED.
  """
  gym = _package()
  if name in REFUSED:
    raise ValueError(f"task.name: {PREFIX}{name} is refused: {REFUSED[name]}")
  if name not in gym.factory.DATASETS:
    near = difflib.get_close_matches(name, gym.factory.DATASETS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"task.name: reasoning-gym has no family {name!r}{hint}")
  num_levels = _num_levels(gym, name)
  if not 1 <= difficulty <= num_levels:
    raise ValueError(
      f"task.difficulty must lie in 1..{num_levels} for {PREFIX}{name}, got "
      f"{difficulty}"
    )
  dataset = _dataset(gym, name, difficulty)
  scorer = dataset.score_answer if name in SCORED else equality
  verify = make_verifier(scorer)
  family = Family(
    name=f"reasoning_gym_{name}",
    levels=({},) * num_levels,
    problems=functools.partial(_problems, dataset, verify),
    verify=verify,
    characters="",
    solutions=lambda problem: (problem.answer["answer"],),
  )
  return builder.task(family, data_dir, difficulty)


def _package():
  try:
    return importlib.import_module("reasoning_gym")
  except ImportError as error:
    raise ValueError(
      "task.name: reasoning_gym/... needs a package that is not installed: "
      "pip install 'entrojax[reasoning-gym]'"
    ) from error


def _num_levels(gym, name: str) -> int:
  if not gym.factory.has_curriculum(name):
    return 1
  attributes = gym.factory.create_curriculum(name).attributes.values()
  return max((len(a.levels) for a in attributes), default=1)


def _dataset(gym, name: str, difficulty: int):
  """Makes the package's data set of a level; item i is a function of i."""
  settings: dict[str, Any] = {"seed": 0, "size": NUM_ENTRIES}
  if not gym.factory.has_curriculum(name):
    return gym.create_dataset(name, **settings)
  curriculum = gym.factory.create_curriculum(name)
  curriculum.set_global_level(difficulty - 1)
  dataset_class, _ = gym.factory.DATASETS[name]
  try:
    return dataset_class(curriculum.generate_configuration(settings))
  except (AssertionError, TypeError, ValueError) as error:
    raise ValueError(
      f"task.difficulty: reasoning-gym cannot make {name!r} at level "
      f"{difficulty}: {error}"
    ) from error


def _problems(dataset, verify: Verifier) -> Iterator[Problem]:
  """Yields entries that survive JSON and whose own answer is right."""
  prompts: set[str] = set()
  for index in range(len(dataset)):
    entry = json.loads(json.dumps(dict(dataset[index]), default=_plain))
    problem = Problem(entry["question"], entry)
    if problem.prompt in prompts or not isinstance(entry["answer"], str):
      continue
    if verify(problem, entry["answer"]).reward == 1.0:
      prompts.add(problem.prompt)
      yield problem


def _plain(value):
  """Returns what JSON can write in place of what it cannot."""
  if isinstance(value, np.generic | np.ndarray):
    return value.tolist()
  return sorted(value) if isinstance(value, set | frozenset) else str(value)


def equality(answer: str, entry: Mapping[str, Any]) -> float:
  """Scores 1 if the answer is the entry's own, spaces in its lines aside."""
  return float(_words(answer) == _words(entry["answer"]))


def _words(text: str) -> list[list[str]]:
  return [line.split() for line in text.strip().splitlines()]


def make_verifier(scorer: Callable[..., float]) -> Verifier:
  """Makes verify(problem, response) from scorer(answer=, entry=).

  It never raises on a str. Reasons: 'too long', 'empty', 'scorer failed',
  'wrong', 'correct'.
  """

  def verify(problem: Problem, response: str) -> Verdict:
    entry = problem.answer
    text = tagged(response).strip()
    if len(text) > 1_000 + 2 * len(entry["answer"]):
      return Verdict(0.0, "too long", None)
    if not text:
      return Verdict(0.0, "empty", None)
    try:
      score = float(scorer(answer=text, entry=dict(entry)))
    except Exception:  # a scorer meets whatever a model writes
      return Verdict(0.0, "scorer failed", text)
    if not score >= RIGHT:  # NaN included
      return Verdict(0.0, "wrong", text)
    return Verdict(1.0, "correct", text)

  return verify


def tagged(response: str) -> str:
  """Returns the text of the last closed <answer> tag; else all of it."""
  before, closing, _ = response.rpartition("</answer>")
  if not closing:
    return response
  _, opening, text = before.rpartition("<answer>")
  return text if opening else response
