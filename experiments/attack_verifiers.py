"""Attack the verifier of every task with hostile strings.

    python -m experiments.attack_verifiers [--num_strings=100000]

The strings are random bytes and unicode, code, deep nesting, huge integers,
digits of other scripts, characters of the task's own alphabet, and right
responses that were changed a little or put into a frame of other text. A
second, slow checker that knows only the prompt and the rules verifies each
string too. The table has, for each task, the number of strings, of accepted
strings, of wrongly accepted ones, of wrongly refused ones, of those whose steps
are wrongly judged and of errors raised, and the slowest verdict in milliseconds
of CPU. Steps are judged if the task has an oracle, and its verdicts are checked
if STEP_CHECKS has a slow checker for them.

The command fails if a verdict is wrong, if a verifier or an oracle raises, or
if verifying and judging a string takes longer than MAX_MILLISECONDS.
"""

import ast
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
import functools
import itertools
import re
import sys
import time
from typing import NamedTuple

from absl import flags
import numpy as np

from entrojax.system.command_line import command
from entrojax.tasks import FAMILIES, arithmetic_chain, countdown_steps
from entrojax.types import Family, Problem

FLAGS = flags.FlagValues()
_NUM_STRINGS = flags.DEFINE_integer(
  "num_strings",
  100_000,
  "the number of strings for each verifier",
  flag_values=FLAGS,
)
_TASKS = flags.DEFINE_list(
  "tasks", list(FAMILIES), "names of tasks", flag_values=FLAGS
)

MAX_MILLISECONDS = 50.0  # CPU time of a verdict

# -- slow checkers of the rules: (prompt, text) -> whether the text is right --


def check_sudoku(prompt: str, text: str) -> bool:
  return _obeys_grid(prompt.rstrip(":"), text, with_boxes=True)


def check_futoshiki(prompt: str, text: str) -> bool:
  puzzle, rules = prompt.rstrip(":").split(";")
  if not _obeys_grid(puzzle, text, with_boxes=False):
    return False
  rows = text.split("/")
  value = {
    f"{letter}{number}": int(rows[number - 1]["abcdefghi".index(letter)])
    for letter in "abcdefghi"[: len(rows)]
    for number in range(1, len(rows) + 1)
  }
  pairs = [rule.split("<") for rule in rules.split(",")]
  return all(value[low] < value[high] for low, high in pairs)


def _obeys_grid(puzzle: str, text: str, *, with_boxes: bool) -> bool:
  """Check the givens, rows, columns and, for a sudoku, boxes of a grid."""
  if not re.fullmatch(puzzle.replace(".", "[1-9]"), text):
    return False
  grid = np.array([[int(c) for c in row] for row in text.split("/")])
  size = len(grid)
  units = [*grid, *grid.T]
  if with_boxes:
    side = round(size**0.5)
    boxes = grid.reshape(side, side, side, side).swapaxes(1, 2)
    units += list(boxes.reshape(size, size))
  return all(sorted(unit) == list(range(1, size + 1)) for unit in units)


def check_knights_and_knaves(prompt: str, text: str) -> bool:
  statements = prompt.rstrip(":").split(";")
  return _has_values(text, len(statements)) and all(
    _rewrite(statement[2:], text) == kind
    for statement, kind in zip(statements, text, strict=True)
  )


def check_propositional_logic(prompt: str, text: str) -> bool:
  names = sorted(set(re.findall("[A-H]", prompt)))
  return _has_values(text, len(names)) and all(
    _rewrite(formula, text) == "T" for formula in prompt.rstrip(":").split(";")
  )


def _has_values(text: str, count: int) -> bool:
  """Check that a text is `count` truth values, T or F."""
  return re.fullmatch(f"[TF]{{{count}}}", text) is not None


def _rewrite(formula: str, values: str) -> str:
  """Evaluate a formula by replacing text with text until T or F is left."""
  # F is both a variable and a value, so values are lower-case until the end
  for name, value in zip("ABCDEFGH", values, strict=False):
    formula = formula.replace(name, value.lower())
  rules = {"~t": "f", "~f": "t", "(t)": "t", "(f)": "f"}
  for x, y in itertools.product("tf", repeat=2):
    both, either = x == y == "t", "t" in (x, y)
    rules[f"{x}&{y}"] = "t" if both else "f"
    rules[f"{x}|{y}"] = "t" if either else "f"
    rules[f"{x}>{y}"] = "f" if (x, y) == ("t", "f") else "t"
    rules[f"{x}={y}"] = "t" if x == y else "f"
  while len(formula) > 1:
    negations = [rule for rule in rules if rule[0] == "~" and rule in formula]
    rule = (negations or [rule for rule in rules if rule in formula])[0]
    formula = formula.replace(rule, rules[rule], 1)
  return formula.upper()


def check_dyck(prompt: str, text: str) -> bool:
  if not text or not set(text) <= set(")]}>"):
    return False
  word = prompt.rstrip(":") + text
  while word != (shorter := re.sub(r"\(\)|\[\]|\{\}|<>", "", word)):
    word = shorter
  return not word


def check_n_queens(prompt: str, text: str) -> bool:
  puzzle = prompt.rstrip(":")
  if not re.fullmatch(puzzle.replace(".", f"[1-{len(puzzle)}]"), text):
    return False
  queens = list(enumerate(int(c) for c in text))
  return all(
    b != d and abs(a - c) != abs(b - d)
    for (a, b), (c, d) in itertools.combinations(queens, 2)
  )


def check_word_sorting(prompt: str, text: str) -> bool:
  return text == ",".join(sorted(prompt.rstrip(":").split(",")))


def check_number_path(prompt: str, text: str) -> bool:
  puzzle = prompt.rstrip(":").replace(".", "[1-9][0-9]?")
  if not re.fullmatch(puzzle, text):
    return False
  place = {
    int(cell): (i, j)
    for i, row in enumerate(text.split("/"))
    for j, cell in enumerate(row.split(" "))
  }
  numbers = range(1, text.count("/") * (text.count("/") + 2) + 2)
  return set(place) == set(numbers) and all(
    sum(abs(a - b) for a, b in zip(place[n], place[n + 1], strict=True)) == 1
    for n in numbers[:-1]
  )


def check_arithmetic_chain(prompt: str, text: str) -> bool:
  first, *rest = re.findall(r"[+*-]?[0-9]+", prompt)
  value, steps = int(first), []
  for part in rest:
    operand = int(part[1:])
    if part[0] == "*":
      value *= operand
    else:
      value += operand if part[0] == "+" else -operand
    steps.append(value)
  return [step.strip(" ") for step in text.split(";")] == [
    f"{step}" for step in steps
  ]


def check_math_path(prompt: str, text: str) -> bool:
  pattern = re.escape(prompt.rstrip(":")).replace(r"\?", "[0-9]")
  if not re.fullmatch(pattern, text) or re.search(r"\b0[0-9]", text):
    return False
  left, right = text.split("=")
  return _evaluate(left) == int(right)


def check_countdown(prompt: str, text: str) -> bool:
  numbers, target = prompt.rstrip(":").split("=")
  if not re.fullmatch(r"[0-9+\-*/() ]*", text) or re.search(r"\b0[0-9]", text):
    return False
  used = sorted(int(n) for n in re.findall("[0-9]{1,9}", text))
  given = sorted(int(n) for n in numbers.split(" "))
  return used == given and _evaluate(text) == int(target)


def _evaluate(text: str) -> Fraction | None:
  """Evaluate an arithmetic expression with Python's grammar, without eval."""
  try:
    return _node(ast.parse(text, mode="eval").body)
  except (SyntaxError, ValueError, ZeroDivisionError):
    return None


def _node(node: ast.AST) -> Fraction:
  """Evaluate a node of + - * / and integers."""
  if isinstance(node, ast.Constant) and type(node.value) is int:
    return Fraction(node.value)
  if not isinstance(node, ast.BinOp):
    raise ValueError(node)
  x, y = _node(node.left), _node(node.right)
  if isinstance(node.op, ast.Add):
    return x + y
  if isinstance(node.op, ast.Sub):
    return x - y
  if isinstance(node.op, ast.Mult):
    return x * y
  if isinstance(node.op, ast.Div):
    return x / y
  raise ValueError(node.op)


def check_countdown_steps(prompt: str, text: str) -> bool:
  moves = text[:-1].split(";")
  if not text.endswith(">") or None in map(_read_move, moves):
    return False
  last = list(_kept_numbers(prompt, moves))[-1]
  return last == (int(prompt.rstrip(":").split("=")[1]),)


def check_countdown_moves(prompt: str, text: str) -> list[bool]:
  """Decide for each move whether the target is within reach after it."""
  target = int(prompt.rstrip(":").split("=")[1])
  text = text.strip(" ")
  handed_in = text.endswith(">")
  moves = (text[:-1] if handed_in else text).split(";")
  right = [
    numbers is not None and target in _values(numbers)
    for numbers in _kept_numbers(prompt, moves)
  ]
  if handed_in:
    right[-1] = list(_kept_numbers(prompt, moves))[-1] == (target,)
  return right


def _kept_numbers(
  prompt: str, moves: Sequence[str]
) -> Iterator[tuple[int, ...] | None]:
  """Yield the numbers that are left after each move; None = not valid."""
  given = (int(n) for n in prompt.partition("=")[0].split(" "))
  states: list[tuple[int, ...] | None] = [tuple(sorted(given))]
  for move in map(_read_move, moves):
    if move is None or (move[0] is not None and states[-1] is None):
      states.append(None)
    elif move[0] is None:
      places = [i for i, s in enumerate(states[:-1]) if s == move[1]]
      states = states[: places[0] + 1] if places else [*states, None]
    else:
      states.append(_make_step(states[-1] or (), *move))
    yield states[-1]


def _make_step(
  numbers: tuple[int, ...], left: str, state: tuple[int, ...], result: int
) -> tuple[int, ...] | None:
  """Return the state that a step claims; None if the claim is false."""
  (operator,) = set(left) & set("+-*/")
  x, y = (int(n) for n in left.split(operator))
  before = sorted([*numbers, result])
  after = sorted([*state, x, y])
  value = None if operator == "/" and y == 0 else _evaluate(left)
  enough = numbers.count(x) > (x == y) and y in numbers
  return state if value == result and before == after and enough else None


def _read_move(
  move: str,
) -> tuple[str, tuple[int, ...], int] | tuple[None, tuple[int, ...]] | None:
  """Split a move into the step's left side (None: take-back) and the rest."""
  if not move.isascii():
    return None
  is_step = move.count("=") == 1
  head, _, tail = move.partition("=" if is_step else "<")
  words = tail.split(" ")
  operators = [c for c in head if c in "+-*/"]
  operands = head.split(operators[0]) if operators else []
  if is_step and (len(operators) != 1 or len(operands) != 2):
    return None
  if not is_step and (head or not move.startswith("<")):
    return None
  for word in (*words, *operands):
    if not word.isdigit() or len(word) > 3 or str(int(word)) != word:
      return None
  state = tuple(sorted(int(word) for word in words))
  return (head, state, int(words[0])) if is_step else (None, state)


@functools.lru_cache(maxsize=2**16)
def _values(numbers: tuple[int, ...]) -> frozenset[int]:
  """Compute every number that integers from 0 to 999 can be reduced to."""
  if len(numbers) == 1:
    return frozenset(numbers)
  values: set[int] = set()
  for i, j in itertools.permutations(range(len(numbers)), 2):
    rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
    x, y = Fraction(numbers[i]), Fraction(numbers[j])
    for value in (x + y, x - y, x * y, *([x / y] if y else [])):
      if value.denominator == 1 and 0 <= value <= 999:
        values |= _values(tuple(sorted([*rest, int(value)])))
  return frozenset(values)


# task -> checker; the text has no spaces at its ends
CHECKS: dict[str, Callable[[str, str], bool]] = {
  "arithmetic_chain": check_arithmetic_chain,
  "countdown": check_countdown,
  "countdown_steps": check_countdown_steps,
  "dyck": check_dyck,
  "futoshiki": check_futoshiki,
  "game_of_24": check_countdown,
  "knights_and_knaves": check_knights_and_knaves,
  "math_path": check_math_path,
  "n_queens": check_n_queens,
  "number_path": check_number_path,
  "propositional_logic": check_propositional_logic,
  "sudoku": check_sudoku,
  "word_sorting": check_word_sorting,
}

# task -> oracle of the steps that a semicolon ends
ORACLES: dict[str, Callable[[Problem, str], list[bool]]] = {
  "arithmetic_chain": arithmetic_chain.judge_steps,
  "countdown_steps": countdown_steps.judge_moves,
}
# task -> slow checker of these steps: (prompt, text) -> whether each is right
STEP_CHECKS: dict[str, Callable[[str, str], list[bool]]] = {
  "countdown_steps": check_countdown_moves,
}


def is_right(family: Family, problem: Problem, response: str) -> bool:
  """Check a response by the prompt and the rules alone."""
  return CHECKS[family.name](problem.prompt, response.strip(" "))


# -- hostile strings ----------------------------------------------------------

FIXED = (
  "",
  " ",
  "\n",
  "\x00",
  "9**9**9",
  "9**9**9**9",
  "2**999999999",
  "1e999999999",
  "0x" + "f" * 60,
  "1/0",
  "0/0",
  "nan",
  "inf",
  "-inf",
  "None",
  "True",
  "{}",
  "[[]]",
  "__import__('os').system('true')",
  "exec('raise SystemExit')",
  "(lambda f: f(f))(lambda f: f(f))",
  "[x for x in ().__class__.__base__.__subclasses__()]",
  "'a'*10**10",
  "%s%n{0}",
  "../../etc/passwd",
  "<answer>1</answer>",
  r"\boxed{1}",
  "\ud800",
  "\U0001f600" * 30,
  "a\u0301" * 60,
  "\u202e1+1",
  *(
    symbol * length
    for symbol in ("9", "(", "[", "-", ";", ",", "/", " ", "~", "T", "((1+")
    for length in (63, 64, 65, 127, 128, 255, 256, 257, 100_000)
  ),
  "9" * 1_000_000,
  "1" + "0" * 4_301,
  "(" * 50 + "1" + ")" * 50,
  "(" * 100_000 + "1" + ")" * 100_000,
)

# the code points of the digit zero in other scripts
_SCRIPTS = (0x0660, 0x06F0, 0x0966, 0xFF10, 0x1D7CE)


def gold(
  family: Family, problem: Problem, rng: np.random.Generator
) -> str | None:
  """Draw a right response; None if the task knows none."""
  texts = family.solutions(problem)
  return texts[int(rng.integers(len(texts)))] if len(texts) else None


def mutated(text: str, alphabet: str, rng: np.random.Generator) -> str:
  """Change one to three characters of a text."""
  letters = list(text) or [" "]
  for _ in range(rng.integers(1, 4)):
    i, j = rng.integers(len(letters), size=2)
    symbol = alphabet[rng.integers(len(alphabet))]
    kind = rng.integers(4)
    if kind == 0:
      letters[i] = symbol
    elif kind == 1:
      letters.insert(i, symbol)
    elif kind == 2:
      letters[i], letters[j] = letters[j], letters[i]
    elif len(letters) > 1:
      del letters[i]
  return "".join(letters)


def framed(text: str, rng: np.random.Generator) -> str:
  """Put a right response into a frame that hides it from a strict verifier."""
  frames = (
    "{}\n",
    "\n{}",
    "\t{}",
    "{}\x00",
    "{} {}",
    "{};{}",
    "{},{}",
    "The answer is {}",
    "<answer>{}</answer>",
    r"\boxed{{{}}}",
    "```python\n{}\n```",
    "[[{}]]",
    "{}.",
    "{}#",
    "{}+0",
    "{}*1",
    "--{}",
    "({})",
    " {} ",
    "{}" + " " * 300,
  )
  return frames[rng.integers(len(frames))].format(text, text)


def in_other_digits(text: str, rng: np.random.Generator) -> str:
  """Write one digit of a text, or all of them, in another script."""
  zero = _SCRIPTS[rng.integers(len(_SCRIPTS))]
  only = rng.integers(len(text)) if rng.random() < 0.5 else None
  return "".join(
    chr(zero + int(c)) if c in "0123456789" and only in (None, i) else c
    for i, c in enumerate(text)
  )


def random_text(rng: np.random.Generator) -> str:
  """Draw fewer than 100 random bytes or code points, as text."""
  length = int(rng.integers(1, 100))
  if rng.random() < 0.5:
    return rng.bytes(length).decode(
      ("latin-1", "utf-16")[rng.integers(2)], "replace"
    )
  return "".join(chr(i) for i in rng.integers(0x110000, size=length))


def attacks(
  family: Family,
  problems: Sequence[Problem],
  rng: np.random.Generator,
  count: int,
) -> Iterator[tuple[Problem, str]]:
  """Yield `count` pairs (problem, response); a few responses are right."""
  yield from itertools.islice(
    itertools.product(problems[:1], FIXED), min(count, len(FIXED))
  )
  golds = [(p, text) for p in problems if (text := gold(family, p, rng))]
  for _ in range(count - len(FIXED)):
    problem, right = golds[rng.integers(len(golds))]
    kind = rng.random()
    if kind < 0.4:
      text = mutated(right, family.characters, rng)
    elif kind < 0.55:
      letters = rng.integers(
        len(family.characters), size=rng.integers(1, len(right) + 3)
      )
      text = "".join(family.characters[i] for i in letters)
    elif kind < 0.65:
      text = framed(right, rng)
    elif kind < 0.7:
      text = in_other_digits(right, rng)
    elif kind < 0.75:
      text = golds[rng.integers(len(golds))][1]  # right for another problem
    elif kind < 0.8:
      text = mutated(problem.prompt, family.characters, rng)
    elif kind < 0.85:
      text = FIXED[rng.integers(31)] + right[: rng.integers(len(right) + 1)]
    else:
      text = random_text(rng)
    yield problem, text


# -- the table ----------------------------------------------------------------


class Count(NamedTuple):
  """How a verifier withstood the attack."""

  strings: int = 0
  accepted: int = 0
  wrongly_accepted: int = 0
  wrongly_refused: int = 0
  wrongly_judged: int = 0  # strings with a step that the oracle gets wrong
  raised: int = 0  # verdicts that raised an exception
  slowest: float = 0.0  # CPU time of the slowest verdict, milliseconds

  @property
  def failed(self) -> bool:
    return (
      self.wrongly_accepted > 0
      or self.wrongly_refused > 0
      or self.wrongly_judged > 0
      or self.raised > 0
      or self.slowest > MAX_MILLISECONDS
    )


def attack(
  family: Family, problems: Sequence[Problem], count: int, seed: int = 0
) -> Count:
  """Attack one verifier, and its oracle of steps, with `count` strings."""
  result = Count()
  oracle = ORACLES.get(family.name, lambda problem, response: [])
  check_steps = STEP_CHECKS.get(family.name)
  rng = np.random.default_rng(seed)
  for problem, response in attacks(family, problems, rng, count):
    start = time.thread_time()
    try:
      verdict = family.verify(problem, response)
      steps = oracle(problem, response)
    except Exception:
      result = result._replace(
        strings=result.strings + 1, raised=result.raised + 1
      )
      continue
    elapsed = 1e3 * (time.thread_time() - start)
    accepted, too_long = verdict.reward == 1.0, verdict.reason == "too long"
    right = not too_long and is_right(family, problem, response)
    misjudged = (
      check_steps is not None
      and not too_long
      and steps != check_steps(problem.prompt, response)
    )
    result = Count(
      strings=result.strings + 1,
      accepted=result.accepted + accepted,
      wrongly_accepted=result.wrongly_accepted + (accepted and not right),
      wrongly_refused=result.wrongly_refused + (right and not accepted),
      wrongly_judged=result.wrongly_judged + misjudged,
      raised=result.raised,
      slowest=max(result.slowest, elapsed),
    )
  return result


def sample_problems(family: Family, count: int) -> list[Problem]:
  """Take about `count` problems, the same number from each level."""
  problems: list[Problem] = []
  share = count // len(family.levels)
  for level in family.levels:
    every = family.problems(**level)
    if isinstance(every, list):  # in some order: take problems from all over
      every = every[:: max(1, len(every) // share)]
    problems += itertools.islice(every, share)
  return problems


@command(FLAGS)
def main() -> None:
  """Attack the verifiers and print the table."""
  heads = (
    *("strings", "accepted", "wrongly", "refused", "misjudged", "raised"),
    "slowest/ms",
  )
  print(f"{'task':20}" + "".join(f"{head:>12}" for head in heads), flush=True)
  failed = []
  for name in _TASKS.value:
    if name not in FAMILIES:
      raise ValueError(f"--tasks: {name!r} is none of {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    count = attack(family, sample_problems(family, 300), _NUM_STRINGS.value)
    cells = "".join(f"{value:12d}" for value in count[:-1])
    print(f"{name:20}{cells}{count.slowest:12.3f}", flush=True)
    if count.failed:
      failed.append(name)
  if failed:
    sys.exit(f"verifiers that failed: {', '.join(failed)}")


if __name__ == "__main__":
  main()
