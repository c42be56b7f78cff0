"""Recorded rollouts: responses that one policy sampled once, on disk.

    {"settings": {"seed": 0, "model": {...}, ...}, "num_rows": 8192}
    {"problem": 17, "prompt": "3+4*2:", "response": "7;15", ...}
    ...

One JSON object a line, written by collect.py. The first says how the rollouts
were made; then comes one a response, those of a group together:

problem    number of the problem in its split, from 0
prompt     str, as the model read it
response   str
tokens     ids of the response, EOS included
truncated  whether the length limit ended it
reward     of the verifier, 1 right, 0 wrong
reason     str, the verifier's
answer     str, the normalised answer; null: none
steps      [start, end] of each step in characters of the response
verdicts   of each judge, by name: whether each step is right

Only wrong responses of groups with a signal, right and wrong ones together, are
cut into steps and judged; others have no steps, and groups without a signal are
dropped when the file is read.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import itertools
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from entrojax.data.prompt_stream import encode_prompts
from entrojax.data.tokenizer import Tokenizer
from entrojax.judges import consensus
from entrojax.judges.segmentation import Span, token_steps
from entrojax.rollouts.rewards import group_responses
from entrojax.rollouts.sampler import prompt_positions
from entrojax.system import resumable_jsonl
from entrojax.types import Array, Problem, Prompts, Responses, Rollout, Verdict

_KIND = "file of rollouts"
begin = functools.partial(resumable_jsonl.begin, kind=_KIND)
append = resumable_jsonl.append


class Response(NamedTuple):
  """A line of the file; fields as above."""

  problem: int
  prompt: str
  response: str
  tokens: list[int]
  truncated: bool
  reward: float
  reason: str
  answer: str | None
  steps: list[Span]
  verdicts: dict[str, list[bool]]


class Groups(NamedTuple):
  """What a file holds."""

  settings: dict[str, Any]
  kept: list[list[Response]]  # groups with right and wrong responses
  num_all_right: int  # groups
  num_all_wrong: int


def read(path: Path) -> Groups:
  """Reads a finished file.

  Raises:
    ValueError: it is missing, no file of rollouts, unfinished or malformed;
      the message names the file, the line and the key.
  """
  file = resumable_jsonl.read(path, kind=_KIND, unit="responses")
  try:
    group_size = int(file.settings["rollout"]["group_size"])
  except (LookupError, TypeError, ValueError):
    group_size = 0
  if group_size < 2 or len(file.rows) % group_size:
    raise ValueError(
      f"{path}:1: settings.rollout.group_size is {group_size}: no size of a "
      f"group of {len(file.rows)} responses"
    )
  responses = [
    _parsed(f"{path}:{number}", line)
    for number, line in enumerate(file.rows, start=2)
  ]
  groups = list(zip(*[iter(responses)] * group_size, strict=True))
  for i, group in enumerate(groups):
    if len({(r.problem, r.prompt) for r in group}) > 1:
      raise ValueError(
        f"{path}:{2 + i * group_size}: the {group_size} responses from here on "
        "have more than one prompt"
      )
  counts = [sum(is_right(r.reward) for r in group) for group in groups]
  return Groups(
    file.settings,
    [
      list(group)
      for group, count in zip(groups, counts, strict=True)
      if 0 < count < group_size
    ],
    num_all_right=counts.count(group_size),
    num_all_wrong=counts.count(0),
  )


def is_right(reward: float) -> bool:
  """Returns whether a verifier's reward is that of a right response."""
  return reward > 0.5


@dataclasses.dataclass(frozen=True)
class Recorded:
  """Groups with a signal, ready to be made batches of; all on the host.

  Arrays of tokens are ragged: only a batch is padded.
  """

  problems: list[Problem]  # N; their answers are not known
  prompts: Prompts  # of the N groups
  group_size: int
  response_length: int  # T, that batches are padded to
  responses: list[Response]  # N * G
  step_ok: list[np.ndarray] | None  # f32[L] each; None: there is no judge
  num_dropped: tuple[int, int]  # groups all right, all wrong
  # f32[L] each, nats, of the policy that sampled; unknown when just read
  log_probs: list[np.ndarray]
  entropy: list[np.ndarray]

  def rollout(self, groups: np.ndarray) -> Rollout:
    """Returns the rollout of these groups, as a sampler would."""
    rows = self._rows(groups)
    response = self._padded([self.responses[r].tokens for r in rows], np.int32)
    mask = self._padded([np.ones(len(self.responses[r].tokens)) for r in rows])
    prompts, prompt_mask = (
      np.repeat(np.asarray(x)[groups], self.group_size, axis=0)
      for x in (self.prompts.tokens, self.prompts.mask)
    )
    before = np.asarray(prompt_positions(prompt_mask))
    after = before[:, -1:] + np.cumsum(mask, axis=1).astype(np.int32)
    return Rollout(
      tokens=np.concatenate([prompts, response], axis=1),
      positions=np.concatenate([before, np.where(mask > 0, after, -1)], axis=1),
      response_mask=mask,
      log_probs=self._padded([self.log_probs[r] for r in rows]),
      entropy=self._padded([self.entropy[r] for r in rows]),
      truncated=np.array(
        [self.responses[r].truncated for r in rows], np.float32
      ),
    )

  def judged(
    self, rollout: Rollout, groups: np.ndarray, **options: Any
  ) -> Responses:
    """Returns what advantage rules may know; options of group_responses."""
    verdicts = [
      [
        Verdict(r.reward, r.reason, r.answer)
        for r in (self.responses[row] for row in self._rows(groups[i : i + 1]))
      ]
      for i in range(len(groups))
    ]
    return group_responses(rollout, verdicts, **options)

  def steps_ok(self, groups: np.ndarray) -> Array | None:
    """Returns f32[B, T], 1 = a token of a step that all judges call right."""
    if self.step_ok is None:
      return None
    return self._padded([self.step_ok[r] for r in self._rows(groups)])

  def unpadded(self, values: Array, groups: np.ndarray) -> list[np.ndarray]:
    """Returns f[B, T] of these groups as one array a response, of its L."""
    rows = zip(self._rows(groups), np.asarray(values), strict=True)
    return [x[: len(self.responses[row].tokens)].copy() for row, x in rows]

  def summary(self) -> str:
    """Says what there is to learn from."""
    right, wrong = self.num_dropped
    number = len(self.problems)
    text = (
      f"{number} of {number + right + wrong} groups have right and wrong "
      f"responses ({right} all right, {wrong} all wrong)"
    )
    if self.step_ok is None:
      return text
    negative = [
      ok
      for ok, r in zip(self.step_ok, self.responses, strict=True)
      if not is_right(r.reward)
    ]
    share = np.concatenate(negative).mean() if negative else 0.0
    return f"{text}; {share:.1%} of the tokens of wrong ones are of right steps"

  def _rows(self, groups: np.ndarray) -> list[int]:
    rows = np.asarray(groups)[:, None] * self.group_size
    return (rows + np.arange(self.group_size)).reshape(-1).tolist()

  def _padded(self, rows: Sequence, dtype: Any = np.float32) -> np.ndarray:
    padded = np.zeros((len(rows), self.response_length), dtype)
    for padded_row, row in zip(padded, rows, strict=True):
      padded_row[: len(row)] = row
    return padded


def record(
  path: Path,
  settings: Mapping[str, Any],
  judges: Sequence[str],
  tokenizer: Tokenizer,
) -> Recorded:
  """Reads a file for a run.

  Args:
    path: the file.
    settings: of the run; what must be the same is compared.
    judges: whose consensus counts; none: no step is marked.
    tokenizer: the policy's.

  Raises:
    ValueError: the file cannot be read, was made by another policy, or cannot
      serve this run; the message names it and what differs.
  """
  groups = read(path)
  unknown = np.zeros(settings["rollout"]["response_length"], np.float32)
  _check_same(path, groups.settings, settings)
  if not groups.kept:
    raise ValueError(
      f"{path}: none of {groups.num_all_right + groups.num_all_wrong} groups "
      f"has right and wrong responses ({groups.num_all_right} all right): "
      "there is nothing to learn from"
    )
  rollout = settings["rollout"]
  responses = [response for group in groups.kept for response in group]
  longest = max(len(response.tokens) for response in responses)
  if longest > rollout["response_length"]:
    raise ValueError(
      f"{path} has a response of {longest} tokens: rollout.response_length = "
      f"{rollout['response_length']} cannot hold it"
    )
  if max(map(max, (r.tokens for r in responses))) >= tokenizer.vocab_size:
    raise ValueError(f"{path} has tokens that the tokenizer does not know")
  problems = [Problem(group[0].prompt, {}) for group in groups.kept]
  return Recorded(
    problems=problems,
    prompts=encode_prompts(problems, tokenizer, rollout["prompt_length"]),
    group_size=rollout["group_size"],
    response_length=rollout["response_length"],
    responses=responses,
    step_ok=_marks(path, responses, judges, tokenizer) if judges else None,
    num_dropped=(groups.num_all_right, groups.num_all_wrong),
    log_probs=[unknown[: len(r.tokens)] for r in responses],
    entropy=[unknown[: len(r.tokens)] for r in responses],
  )


def _marks(
  path: Path,
  responses: Sequence[Response],
  judges: Sequence[str],
  tokenizer: Tokenizer,
) -> list[np.ndarray]:
  """Returns for each response f32[L], 1 = a token of a right step."""
  marks = []
  for response in responses:
    mark = np.zeros(len(response.tokens), np.float32)
    if not is_right(response.reward) and response.steps:
      missing = [name for name in judges if name not in response.verdicts]
      if missing:
        raise ValueError(
          f"{path} has no verdicts of {missing[0]!r}, which judges names, only "
          f"of {sorted(response.verdicts)}"
        )
      right = consensus([response.verdicts[name] for name in judges])
      steps = token_steps(response.tokens, response.steps, tokenizer)
      mark[:] = np.append(right, False)[steps]  # -1, of no step, is the last
    marks.append(mark)
  return marks


def _check_same(
  path: Path, recorded: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
  """Raises ValueError if the file is of another policy than the run's."""
  for section, leaf in (
    ("model", "weights"),
    ("task", "name"),
    ("prompt", "template"),
    ("prompt", "chat"),
    ("rollout", "group_size"),
    ("rollout", "temperature"),
  ):
    was = (recorded.get(section) or {}).get(leaf)
    if was != settings[section][leaf]:
      raise ValueError(
        f"{path} was made with {section}.{leaf} = {was!r}, the run has "
        f"{settings[section][leaf]!r}"
      )


def _parsed(where: str, line: bytes) -> Response:
  """Returns a line as a Response; a ValueError names the key."""
  try:
    raw = json.loads(line)
    row = {key: raw[key] for key in Response._fields}
  except (ValueError, TypeError, RecursionError) as error:
    raise ValueError(f"{where}: not a JSON object: {error}") from None
  except KeyError as error:
    raise ValueError(f"{where}: lacks {error}") from None
  for key, good in _GOOD.items():
    if not good(row[key]):
      raise ValueError(f"{where}: {key} is {str(row[key])[:80]}")
  response = Response(**row)
  spans = [0, *itertools.chain(*response.steps)]
  joined = [a == b for a, b in zip(spans[::2], spans[1::2], strict=False)]
  if response.steps and not (
    all(joined)
    and all(a < b for a, b in response.steps)
    and spans[-1] == len(response.response)
  ):
    raise ValueError(f"{where}: steps do not divide the response")
  for name, verdicts in response.verdicts.items():
    if not _are(bool, verdicts) or len(verdicts) != len(response.steps):
      raise ValueError(
        f"{where}: verdicts.{name} is not one of true and false a step"
      )
  return response


def _are(kind: type, values: Any) -> bool:
  return isinstance(values, list) and all(type(v) is kind for v in values)


_GOOD = {
  "problem": lambda v: type(v) is int and v >= 0,
  "prompt": lambda v: isinstance(v, str),
  "response": lambda v: isinstance(v, str),
  "tokens": lambda v: _are(int, v) and len(v) > 0 and min(v) >= 0,
  "truncated": lambda v: type(v) is bool,
  "reward": lambda v: type(v) in (int, float) and math.isfinite(v),
  "reason": lambda v: isinstance(v, str),
  "answer": lambda v: v is None or isinstance(v, str),
  "steps": lambda v: (
    isinstance(v, list) and all(_are(int, s) and len(s) == 2 for s in v)
  ),
  "verdicts": lambda v: isinstance(v, dict),
}
