r"""Write a data set of sums, which a small real model can learn in an hour.

    python -m experiments.addition --output=data/addition

A problem asks for the sum of two numbers from 1 to 29, after two worked sums
that show the form of an answer:

    14+7=21
    32+5=37
    23+18=

The command writes train.jsonl and validation.jsonl with the columns question
and answer, which the task math/gsm8k reads. A pair of numbers is in one file
only, in both orders. configs/addition.py is the config of a run on them.
"""

from collections.abc import Iterable
import itertools
import json
from pathlib import Path
import random

from absl import flags

from entrojax.system.command_line import command

LARGEST = 29  # numbers go from 1 to this one
SPLITS = ("train", "validation")
NUM_VALIDATION = 72  # pairs that are held out, in both orders
WORKED = "14+7=21\n32+5=37\n"  # what stands before each question

FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
  "output", "", "the folder to write", flag_values=FLAGS
)

Pair = tuple[int, int]


def split_pairs() -> dict[str, list[Pair]]:
  """Divide all unordered pairs of numbers into train and validation."""
  numbers = range(1, LARGEST + 1)
  pairs = list(itertools.combinations_with_replacement(numbers, 2))
  random.Random(0).shuffle(pairs)
  parts = pairs[NUM_VALIDATION:], pairs[:NUM_VALIDATION]
  return dict(zip(SPLITS, parts, strict=True))


def rows(pairs: Iterable[Pair]) -> list[dict[str, str]]:
  """Build the problems of some pairs, each in both orders."""
  ordered = dict.fromkeys(order for a, b in pairs for order in ((a, b), (b, a)))
  return [
    {"question": f"{WORKED}{a}+{b}=", "answer": str(a + b)} for a, b in ordered
  ]


def write(folder: Path) -> None:
  """Write the files of both splits to a folder."""
  folder.mkdir(parents=True, exist_ok=True)
  for split, pairs in split_pairs().items():
    problems = rows(pairs)
    path = folder / f"{split}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in problems))
    print(f"{path}: {len(problems)} problems")


@command(FLAGS, required=("output",))
def main() -> None:
  """Write the data set."""
  write(Path(_OUTPUT.value))


if __name__ == "__main__":
  main()
