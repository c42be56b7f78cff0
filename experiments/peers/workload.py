"""The workload that all contestants share, and how they take turns.

Standard library alone: every contestant runs in an environment of its own. The
model is a Qwen3 with random weights, 992,640 parameters, float32; a prompt is
"a+b=", the reward the share of a response that is the letter a; one step of
AdamW at 1e-3 a rollout, no KL, clip 0.2, temperature 1.
"""

from collections.abc import Callable, Iterable, Iterator
import dataclasses
import json
import random
import sys
import time
from typing import TypeVar

T = TypeVar("T")

CHARACTERS = "0123456789+-*/=() abcdefghijklmnopqrstuvwxyz.,?!:"
SPECIAL = ("<pad>", "<bos>", "<eos>")  # ids 0, 1, 2; characters follow
VOCABULARY = 64  # the rest is never read
PROMPT_LENGTH = 16  # tokens that a prompt may have
LEARNING_RATE, CLIP, MAX_GRAD_NORM = 1e-3, 0.2, 1.0
WIDTH, INNER, LAYERS, HEADS, KV_HEADS, HEAD = 128, 512, 4, 4, 2, 32

_MARK = "STEP "  # of a contestant's lines that are read


@dataclasses.dataclass(frozen=True)
class Workload:
  """Sizes of a rollout batch."""

  num_prompts: int
  group_size: int
  response_length: int  # tokens, EOS included

  def prompts(self, seed: int) -> list[str]:
    """Returns the prompts of a batch."""
    draw = random.Random(seed)
    return [
      f"{draw.randrange(100)}+{draw.randrange(100)}="
      for _ in range(self.num_prompts)
    ]

  def reward(self, text: str) -> float:
    """Returns the share of letters a."""
    return text.count("a") / self.response_length


WORKLOADS = {"W1": Workload(8, 8, 32), "W2": Workload(32, 8, 64)}


@dataclasses.dataclass(frozen=True)
class Step:
  """What a step took, in seconds."""

  whole: float  # by the clock
  rollout: float
  update: float
  cpu: float  # of the whole step, all threads
  reward: float  # the batch's mean: that it learns


class Turns:
  """A contestant's side: waits for its turn, says what the step took."""

  def __init__(self):
    self.reward = 0.0  # of the batch at hand
    self._taken: dict[str, float] = {}
    self._start = self._cpu = 0.0

  def begin(self) -> bool:
    """Waits for its turn; returns whether there is one."""
    print(_MARK, flush=True)
    asked = bool(sys.stdin.readline())
    self._taken = {}
    self._start, self._cpu = time.perf_counter(), time.process_time()
    return asked

  def timed(self, name: str, function: Callable[..., T]) -> Callable[..., T]:
    """Returns the function, whose time in this turn counts as `name`.

    Names: rollout; update, or instead before_update, all that is not update.
    """

    def call(*arguments, **named):
      start = time.perf_counter()
      result = function(*arguments, **named)
      taken = time.perf_counter() - start
      self._taken[name] = self._taken.get(name, 0.0) + taken
      return result

    return call

  def end(self) -> None:
    """Says what the step took."""
    whole = time.perf_counter() - self._start
    cpu = time.process_time() - self._cpu
    update = whole - self._taken.get("before_update", 0.0)
    step = Step(
      whole=whole,
      rollout=self._taken["rollout"],
      update=self._taken.get("update", update),
      cpu=cpu,
      reward=self.reward,
    )
    print(_MARK + json.dumps(dataclasses.asdict(step)), flush=True)


def read_steps(lines: Iterable[str]) -> Iterator[Step | None]:
  """Yields what a contestant says: None = it waits for its turn."""
  for line in lines:
    if line.startswith(_MARK):
      said = line.removeprefix(_MARK).strip()
      yield Step(**json.loads(said)) if said else None
