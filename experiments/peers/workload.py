"""The workload that all contestants share, and how they take turns.

This file needs the standard library only, because every contestant runs in an
environment of its own. The model is a Qwen3 with random weights, of 992,640
float32 parameters. A prompt is "a+b=", and the reward is the share of the
letter a in the response. Each rollout gets one step of AdamW at 1e-3, without
KL penalty, with clip 0.2, at temperature 1.

Turns: a contestant prints a line that begins with _MARK when it is ready. It
then waits for a line on its standard input, makes one step, and prints _MARK
and the step's times as JSON.
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
VOCABULARY = 64  # more ids than characters: the rest is never used
PROMPT_LENGTH = 16  # tokens of a prompt at most
LEARNING_RATE, CLIP, MAX_GRAD_NORM = 1e-3, 0.2, 1.0
WIDTH, INNER, LAYERS, HEADS, KV_HEADS, HEAD = 128, 512, 4, 4, 2, 32

_MARK = "STEP "  # begins the lines that the table reads


@dataclasses.dataclass(frozen=True)
class Workload:
  """The sizes of a rollout batch."""

  num_prompts: int
  group_size: int
  response_length: int  # tokens, EOS included

  def prompts(self, seed: int) -> list[str]:
    """Draw the prompts of a batch."""
    rng = random.Random(seed)
    return [
      f"{rng.randrange(100)}+{rng.randrange(100)}="
      for _ in range(self.num_prompts)
    ]

  def reward(self, text: str) -> float:
    """Compute the share of letters a in a response of full length."""
    return text.count("a") / self.response_length


WORKLOADS = {"W1": Workload(8, 8, 32), "W2": Workload(32, 8, 64)}


@dataclasses.dataclass(frozen=True)
class Step:
  """The times of a step, in seconds, and its reward."""

  whole: float  # wall-clock time
  rollout: float  # wall-clock time of sampling
  update: float  # wall-clock time of the update
  cpu: float  # CPU time of the whole step, all threads
  reward: float  # mean of the batch, which shows that the trainer learns


class Turns:
  """A contestant's side: it waits for its turn and reports its times."""

  def __init__(self) -> None:
    self.reward = 0.0  # mean of the current batch, set by the contestant
    self._seconds: dict[str, float] = {}
    self._start = self._cpu = 0.0

  def begin(self) -> bool:
    """Wait for the turn; return False if there are no more turns."""
    print(_MARK, flush=True)
    has_turn = bool(sys.stdin.readline())
    self._seconds = {}
    self._start, self._cpu = time.perf_counter(), time.process_time()
    return has_turn

  def timed(self, name: str, function: Callable[..., T]) -> Callable[..., T]:
    """Wrap a function so that its time in a turn is recorded as `name`.

    Args:
      name: rollout, and either update, or before_update for everything that is
        not the update.
      function: the function to time.
    """

    def call(*arguments, **named):
      start = time.perf_counter()
      result = function(*arguments, **named)
      seconds = time.perf_counter() - start
      self._seconds[name] = self._seconds.get(name, 0.0) + seconds
      return result

    return call

  def end(self) -> None:
    """Report the times of the step."""
    whole = time.perf_counter() - self._start
    cpu = time.process_time() - self._cpu
    update = whole - self._seconds.get("before_update", 0.0)
    step = Step(
      whole=whole,
      rollout=self._seconds["rollout"],
      update=self._seconds.get("update", update),
      cpu=cpu,
      reward=self.reward,
    )
    print(_MARK + json.dumps(dataclasses.asdict(step)), flush=True)


def read_steps(lines: Iterable[str]) -> Iterator[Step | None]:
  """Yield a contestant's steps, and None each time that it is ready."""
  for line in lines:
    if line.startswith(_MARK):
      text = line.removeprefix(_MARK).strip()
      yield Step(**json.loads(text)) if text else None
