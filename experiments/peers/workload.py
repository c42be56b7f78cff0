"""The workloads that all contestants share, and how they take turns.

This file needs the standard library only, because every contestant runs in an
environment of its own. The model is a Qwen3 with random float32 weights: of
992,640 parameters in W1 and W2, and of SmolLM2-135M's sizes in W3. A prompt is
a sum such as "a+b=". The reward is the share of a response's characters that
have an even code point. In W3 the backward pass computes layers again, as TRL
does by default; without this it holds more than 20 GB. Each rollout gets one
step of AdamW at 1e-3, without KL penalty, with clip 0.2, at temperature 1.

Turns: a contestant prints a line that begins with _MARK when it is ready. It
then waits for a line on its standard input, makes one step, and prints _MARK
and the step's times as JSON.
"""

from collections.abc import Callable, Iterable, Iterator
import dataclasses
import json
import random
import resource
import sys
import time
from typing import TypeVar

T = TypeVar("T")

SPECIAL = ("<pad>", "<bos>", "<eos>")  # ids 0, 1, 2; characters follow
LEARNING_RATE, CLIP, MAX_GRAD_NORM = 1e-3, 0.2, 1.0

_MARK = "STEP "  # begins the lines that the table reads
_FIRST_OF_MANY = 0x20000  # code point of the first ideograph of its plane


@dataclasses.dataclass(frozen=True)
class Sizes:
  """The sizes of the model."""

  vocabulary: int
  width: int
  inner: int  # width of the feed-forward layers
  layers: int
  heads: int
  kv_heads: int
  head: int  # width of a head

  @property
  def characters(self) -> str:
    """One character for each id that is not of SPECIAL."""
    letters = "0123456789+-*/=() abcdefghijklmnopqrstuvwxyz.,?!:"
    others = self.vocabulary - len(SPECIAL) - len(letters)
    return letters + "".join(chr(_FIRST_OF_MANY + i) for i in range(others))


TINY = Sizes(64, 128, 512, 4, 4, 2, 32)
SMOLLM2 = Sizes(49_152, 576, 1536, 30, 9, 3, 64)


@dataclasses.dataclass(frozen=True)
class Workload:
  """The model and the sizes of a rollout batch."""

  num_prompts: int
  group_size: int
  response_length: int  # tokens, EOS included
  prompt_length: int = 16  # tokens of a prompt at most
  num_terms: int = 2  # of a prompt, which is a sum
  sizes: Sizes = TINY

  @property
  def is_large(self) -> bool:
    """Whether memory decides how the trainers run."""
    return self.sizes == SMOLLM2

  @property
  def num_microbatches(self) -> int:
    """The parts in which a large model's batch is updated, by every trainer."""
    return 8 if self.is_large else 1

  def prompts(self, seed: int) -> list[str]:
    """Draw the prompts of a batch."""
    rng = random.Random(seed)
    return [
      "+".join(str(rng.randrange(100)) for _ in range(self.num_terms)) + "="
      for _ in range(self.num_prompts)
    ]

  def reward(self, text: str) -> float:
    """Compute the share of even code points in a response of full length."""
    return sum(ord(c) % 2 == 0 for c in text) / self.response_length


WORKLOADS = {
  "W1": Workload(8, 8, 32),
  "W2": Workload(32, 8, 64),
  "W3": Workload(8, 8, 64, prompt_length=128, num_terms=42, sizes=SMOLLM2),
}


@dataclasses.dataclass(frozen=True)
class Step:
  """The times of a step, in seconds, and its reward."""

  whole: float  # wall-clock time
  rollout: float  # wall-clock time of sampling
  update: float  # wall-clock time of the update
  cpu: float  # CPU time of the whole step, all threads
  memory: float  # bytes, the most that the contestant has held until now
  reward: float  # mean of the batch, which shows that the trainer learns


def peak_of_process() -> float:
  """Return the most memory that this process has held, in bytes."""
  return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Turns:
  """A contestant's side: it waits for its turn and reports its times."""

  def __init__(self, memory: Callable[[], float] = peak_of_process) -> None:
    """Begin without a turn.

    Args:
      memory: returns the most memory that the contestant has held, in bytes.
    """
    self.reward = 0.0  # mean of the current batch, set by the contestant
    self._memory = memory
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
      memory=self._memory(),
      reward=self.reward,
    )
    print(_MARK + json.dumps(dataclasses.asdict(step)), flush=True)


def read_steps(lines: Iterable[str]) -> Iterator[Step | None]:
  """Yield a contestant's steps, and None each time that it is ready."""
  for line in lines:
    if line.startswith(_MARK):
      text = line.removeprefix(_MARK).strip()
      yield Step(**json.loads(text)) if text else None
