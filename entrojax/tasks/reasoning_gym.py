"""Tasks of the package reasoning-gym, with rewards of 0 or 1.

The task reasoning_gym/chain_sum of difficulty 2 has problems of that family at
the second level of its curriculum. They are drawn when they are first loaded,
at most 2,048 of them, and written to disk by the builder that all tasks share
(builder.py), each with its whole entry in JSON. The package is optional:
`pip install 'entrojax[reasoning-gym]'`.

The package gives partial credit. A long answer that contains the right one, or
a grid with one wrong cell in a hundred, scores 0.99 or more, and some scorers
accept "nan", or anything. Here a response is right if each of its lines equals
that of the entry's answer, apart from spaces. In some families several answers,
or several forms of one answer, are right: in these, listed in SCORED, a
response is right if the package's scorer gives 1 up to rounding. Entries whose
own answer is not right by these rules are left out. Families that cannot be
verified safely, or cannot be used for another reason, are listed in REFUSED and
raise ValueError.

If a response holds a closed <answer> tag, as the package's prompts ask for,
only the text in the last such tag is verified; otherwise the whole response is.

Deviation: the package's score is not thresholded at 0.99 for every family,
because that would accept the wrong answers described above.
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
NUM_ENTRIES = 2_048  # entries drawn for a level, before copies are left out
RIGHT = 1 - 1e-6  # the lowest score of a right answer

# In these families several answers or forms of one answer are right. The source
# of their scorers was checked in version 0.1.25: they evaluate nothing that a
# model writes, end soon, and give 1 to right answers only.
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
  """Build the task of one of the package's families.

  Args:
    name: the package's name of the family, such as 'chain_sum'.
    data_dir: the folder in which data sets are kept; see builder.load.
    difficulty: the level of the family's curriculum, from 1; a family without a
      curriculum has only level 1.

  Raises:
    ValueError: the package is missing, it has no such family or level, or the
      family is one of REFUSED.
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
  """Import reasoning-gym."""
  try:
    return importlib.import_module("reasoning_gym")
  except ImportError as error:
    raise ValueError(
      "task.name: reasoning_gym/... needs a package that is not installed: "
      "pip install 'entrojax[reasoning-gym]'"
    ) from error


def _num_levels(gym, name: str) -> int:
  """Return the number of levels of a family's curriculum; 1 without one."""
  if not gym.factory.has_curriculum(name):
    return 1
  attributes = gym.factory.create_curriculum(name).attributes.values()
  return max((len(a.levels) for a in attributes), default=1)


def _dataset(gym, name: str, difficulty: int):
  """Build the package's data set of a level; item i depends on i alone."""
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
  """Yield the problems of all distinct entries whose own answer is right."""
  prompts: set[str] = set()
  for index in range(len(dataset)):
    entry = json.loads(json.dumps(dict(dataset[index]), default=_to_json))
    problem = Problem(entry["question"], entry)
    if problem.prompt in prompts or not isinstance(entry["answer"], str):
      continue
    if verify(problem, entry["answer"]).reward == 1.0:
      prompts.add(problem.prompt)
      yield problem


def _to_json(value):
  """Convert a value that JSON cannot write to one that it can."""
  if isinstance(value, np.generic | np.ndarray):
    return value.tolist()
  return sorted(value) if isinstance(value, set | frozenset) else str(value)


def equality(answer: str, entry: Mapping[str, Any]) -> float:
  """Score 1 if the lines equal the entry's answer apart from spaces, else 0."""
  return float(_words(answer) == _words(entry["answer"]))


def _words(text: str) -> list[list[str]]:
  """Split a text into lines, and the lines into words."""
  return [line.split() for line in text.strip().splitlines()]


def make_verifier(scorer: Callable[..., float]) -> Verifier:
  """Build a verifier from one of the package's scorers.

  Args:
    scorer: (answer=text, entry=dict) -> score; a right answer scores at least
      RIGHT.

  Returns:
    verify(problem, response) -> Verdict, which no str makes raise. The reason
    is 'too long', 'empty', 'scorer failed', 'wrong' or 'correct'.
  """

  def verify(problem: Problem, response: str) -> Verdict:
    entry = problem.answer
    text = answer_text(response).strip()
    if len(text) > 1_000 + 2 * len(entry["answer"]):
      return Verdict(0.0, "too long", None)
    if not text:
      return Verdict(0.0, "empty", None)
    try:
      score = float(scorer(answer=text, entry=dict(entry)))
    except Exception:  # the text is arbitrary, and scorers are not robust
      return Verdict(0.0, "scorer failed", text)
    if not score >= RIGHT:  # NaN included
      return Verdict(0.0, "wrong", text)
    return Verdict(1.0, "correct", text)

  return verify


def answer_text(response: str) -> str:
  """Return the text in the last closed <answer> tag, or the whole response."""
  before, closing, _ = response.rpartition("</answer>")
  if not closing:
    return response
  _, opening, text = before.rpartition("<answer>")
  return text if opening else response
