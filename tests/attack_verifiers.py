"""Attack the verifier of every task with hostile strings.

    python -m tests.attack_verifiers [--num_strings=100000]

The strings are random bytes and unicode, code, deep nesting, huge integers,
digits of other scripts, characters of the task's own alphabet, and right
responses that were changed a little or put into a frame of other text. A
second, slow checker that knows only the prompt and the rules verifies each
string too. The table has, for each task, the number of strings, of accepted
strings, of wrongly accepted ones, of wrongly refused ones, of those whose steps
are wrongly judged and of errors raised, and the slowest verdict in milliseconds
of CPU. The slow checkers are the modules of tests/tasks/checkers. Steps are
judged if the checker has an oracle, and the oracle's verdicts are checked if it
also has a slow checker of steps.

The command fails if a verdict is wrong, if a verifier or an oracle raises, or
if verifying and judging a string takes longer than MAX_MILLISECONDS.
"""

from collections.abc import Iterator, Sequence
import itertools
import sys
import time
from typing import NamedTuple

from absl import flags
import numpy as np

from entrojax.system.command_line import command
from entrojax.tasks import FAMILIES
from entrojax.types import Family, Problem
from tests.tasks.checkers import CHECKERS

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


def is_right(family: Family, problem: Problem, response: str) -> bool:
  """Check a response by the prompt and the rules alone."""
  return CHECKERS[family.name].check(problem.prompt, response.strip(" "))


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
  fault: str = ""  # what the verifier does wrong, with the first example

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
  checker = CHECKERS[family.name]
  judge = getattr(checker, "judge", lambda problem, response: [])
  check_steps = getattr(checker, "check_steps", None)
  rng = np.random.default_rng(seed)
  for problem, response in attacks(family, problems, rng, count):
    start = time.thread_time()
    try:
      verdict = family.verify(problem, response)
      steps = judge(problem, response)
    except Exception as error:
      result = result._replace(
        strings=result.strings + 1,
        raised=result.raised + 1,
        fault=result.fault or _example(f"raises {error!r}", problem, response),
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
    faults = {
      "accepts a wrong response": accepted and not right,
      "refuses a right response": right and not accepted,
      "has a step oracle that is wrong": misjudged,
    }
    fault = next((what for what, is_so in faults.items() if is_so), "")
    result = Count(
      strings=result.strings + 1,
      accepted=result.accepted + accepted,
      wrongly_accepted=result.wrongly_accepted + (accepted and not right),
      wrongly_refused=result.wrongly_refused + (right and not accepted),
      wrongly_judged=result.wrongly_judged + misjudged,
      raised=result.raised,
      slowest=max(result.slowest, elapsed),
      fault=result.fault or (fault and _example(fault, problem, response)),
    )
  return result


def _example(fault: str, problem: Problem, response: str) -> str:
  return f"{fault}: {response[:80]!r} to the prompt {problem.prompt!r}"


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
    cells = "".join(f"{value:12d}" for value in count[:-2])
    print(f"{name:20}{cells}{count.slowest:12.3f}", flush=True)
    if count.failed:
      failed.append(name)
      print(f"  {count.fault or 'a verdict takes too long'}", flush=True)
  if failed:
    sys.exit(f"verifiers that failed: {', '.join(failed)}")


if __name__ == "__main__":
  main()
