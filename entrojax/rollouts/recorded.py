"""Read recorded rollouts: responses on disk that one policy sampled once.

    {"settings": {"seed": 0, "model": {...}, ...}, "num_rows": 8192}
    {"problem": 17, "prompt": "3+4*2:", "response": "7;15", ...}
    ...

The file holds one JSON object per line. The first line describes how the
rollouts were made. One line per response follows. The G responses to a prompt
form a group and are on neighbouring lines. The fields of a response are:

problem    int, the row of the problem in its split, from 0
prompt     str, the prompt as the model read it, with its template
response   str, the text of the response
tokens     list of int, the tokens of the response, with EOS if it has one
truncated  bool, whether the response ended at the length limit
reward     float, the verifier's reward; above 0.5 = right
reason     str, the verifier's reason
answer     str, the normalised answer; null if none was found
steps      list of [start, end] of each step, in characters, end excluded; the
           steps follow each other and cover the response
verdicts   judge's name -> list of bool, whether each step is right; null: the
           judge has no verdict on this response

A group has a signal if it has both right and wrong responses. Only the wrong
responses of such groups are cut into steps and judged, and only if there are
judges; in other lines, steps and verdicts are empty. Groups without a signal
are dropped when the file is read, and only their number is kept.

`read` returns the contents of a file. `load` checks that a run fits them and
returns RecordedRollouts, from which its batches are made. `begin` and `append`
write a file, line by line (system/resumable_jsonl.py).
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
from entrojax.system import resumable_jsonl
from entrojax.types import Array, Problem, Prompts, Responses, Rollout, Verdict

_KIND = "file of rollouts"
begin = functools.partial(resumable_jsonl.begin, kind=_KIND)
append = resumable_jsonl.append


class RecordedResponse(NamedTuple):
  """A line of the file; the module's docstring explains the fields."""

  problem: int
  prompt: str
  response: str
  tokens: list[int]
  truncated: bool
  reward: float
  reason: str
  answer: str | None
  steps: list[Span]
  verdicts: dict[str, list[bool] | None]


class RecordedGroups(NamedTuple):
  """The contents of a file."""

  settings: dict[str, Any]  # how the rollouts were made
  kept: list[list[RecordedResponse]]  # groups with right and wrong responses
  num_all_right: int  # dropped groups in which every response is right
  num_all_wrong: int  # dropped groups in which every response is wrong


def read(path: Path) -> RecordedGroups:
  """Read a complete file.

  Raises:
    ValueError: the file is missing, incomplete, malformed, or not a file of
      rollouts; the message names the file, the line and the key.
  """
  file = resumable_jsonl.read(path, kind=_KIND, unit="responses")
  try:
    group_size = int(file.settings["rollout"]["group_size"])
  except (LookupError, TypeError, ValueError):
    group_size = 0
  if group_size < 2 or len(file.rows) % group_size:
    raise ValueError(
      f"{path}:1: settings.rollout.group_size is {group_size}, which does not "
      f"divide {len(file.rows)} responses into groups of at least 2"
    )
  responses = [
    _parse_line(f"{path}:{number}", line)
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
  return RecordedGroups(
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
  """Return whether a verifier's reward means a right response."""
  return reward > 0.5


@dataclasses.dataclass(frozen=True)
class RecordedRollouts:
  """N groups with a signal, from which batches are made; all on the host.

  The per-token lists hold one array per response, as long as the response.
  Only batches are padded.
  """

  problems: list[Problem]  # N; without answers, which the file does not hold
  prompts: Prompts  # of the N groups
  group_size: int  # G
  response_length: int  # T, tokens, to which batches are padded
  responses: list[RecordedResponse]  # N * G
  # per response f32[tokens], 1 = a token of a right step; None: no judge
  step_ok: list[np.ndarray] | None
  num_dropped: tuple[int, int]  # groups all right, groups all wrong
  # per response f32[tokens], nats, under the policy that sampled; zeros until
  # assembly computes them
  log_probs: list[np.ndarray]
  entropy: list[np.ndarray]

  def rollout(self, groups: np.ndarray) -> Rollout:
    """Build the rollout of these groups, as a sampler would return it.

    Args:
      groups: i[Q], the numbers of the groups.
    """
    rows = self._rows(groups)
    response = self._padded([self.responses[r].tokens for r in rows], np.int32)
    mask = self._padded([np.ones(len(self.responses[r].tokens)) for r in rows])
    prompts, prompt_mask = (
      np.repeat(np.asarray(x)[groups], self.group_size, axis=0)
      for x in (self.prompts.tokens, self.prompts.mask)
    )
    # sampler.all_positions in numpy: a batch is made on the host
    before = np.cumsum(prompt_mask, axis=1).astype(np.int32) - 1
    before = np.where(prompt_mask > 0, before, -1)
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

  def group_responses(
    self, rollout: Rollout, groups: np.ndarray, **options: Any
  ) -> Responses:
    """Collect what advantage rules may read, with the recorded verdicts.

    Args:
      rollout: the rollout of these groups.
      groups: i[Q], the numbers of the groups.
      **options: passed to rewards.group_responses.
    """
    verdicts = [
      [
        Verdict(r.reward, r.reason, r.answer)
        for r in (self.responses[row] for row in self._rows(groups[i : i + 1]))
      ]
      for i in range(len(groups))
    ]
    return group_responses(rollout, verdicts, **options)

  def steps_ok(self, groups: np.ndarray) -> Array | None:
    """Return f32[B, T], 1 = a token of a step that all judges call right."""
    if self.step_ok is None:
      return None
    return self._padded([self.step_ok[r] for r in self._rows(groups)])

  def unpadded(self, values: Array, groups: np.ndarray) -> list[np.ndarray]:
    """Split f[B, T] into one array per response, as long as the response.

    Args:
      values: f[B, T], the rows of these groups.
      groups: i[Q], the numbers of the groups.
    """
    rows = zip(self._rows(groups), np.asarray(values), strict=True)
    return [x[: len(self.responses[row].tokens)].copy() for row, x in rows]

  def summary(self) -> str:
    """Describe in one line how many groups the run can learn from."""
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
    text += (
      f"; {share:.1%} of the tokens of wrong responses belong to right steps"
    )
    silent = sum(None in r.verdicts.values() for r in self.responses)
    if silent:
      text += f"; on {silent} of these responses a judge has no verdict"
    return text

  def _rows(self, groups: np.ndarray) -> list[int]:
    rows = np.asarray(groups)[:, None] * self.group_size
    return (rows + np.arange(self.group_size)).reshape(-1).tolist()

  def _padded(self, rows: Sequence, dtype: Any = np.float32) -> np.ndarray:
    padded = np.zeros((len(rows), self.response_length), dtype)
    for padded_row, row in zip(padded, rows, strict=True):
      padded_row[: len(row)] = row
    return padded


def load(
  path: Path,
  settings: Mapping[str, Any],
  judges: Sequence[str],
  tokenizer: Tokenizer,
  *,
  vocab_size: int,
) -> RecordedRollouts:
  """Load the rollouts that a run trains on.

  Args:
    path: the file.
    settings: the run's own settings, by section and leaf, as rollout_settings
      returns them. The file must have the same model weights, task name,
      template, chat setting, group size, temperature, top_k and top_p.
    judges: the names of the judges that must all call a step right; without
      judges no step is marked.
    tokenizer: the policy's tokenizer.
    vocab_size: the number of tokens that the policy can sample. The tokenizer
      of many models knows fewer.

  Raises:
    ValueError: the file cannot be read, was made by another policy, or does not
      fit this run; the message names the file and the difference.
  """
  groups = read(path)
  zeros = np.zeros(settings["rollout"]["response_length"], np.float32)
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
  largest = max(max(response.tokens) for response in responses)
  if largest >= vocab_size:
    raise ValueError(
      f"{path} has the token {largest}, but the model has only {vocab_size} "
      "tokens"
    )
  problems = [Problem(group[0].prompt, {}) for group in groups.kept]
  return RecordedRollouts(
    problems=problems,
    prompts=encode_prompts(problems, tokenizer, rollout["prompt_length"]),
    group_size=rollout["group_size"],
    response_length=rollout["response_length"],
    responses=responses,
    step_ok=_mark_right_steps(path, responses, judges, tokenizer)
    if judges
    else None,
    num_dropped=(groups.num_all_right, groups.num_all_wrong),
    log_probs=[zeros[: len(r.tokens)] for r in responses],
    entropy=[zeros[: len(r.tokens)] for r in responses],
  )


def _mark_right_steps(
  path: Path,
  responses: Sequence[RecordedResponse],
  judges: Sequence[str],
  tokenizer: Tokenizer,
) -> list[np.ndarray]:
  """Return f32[tokens] for each response, 1 = a token of a right step.

  A response on which no judge has a verdict has no marked token.
  """
  marks = []
  for response in responses:
    mark = np.zeros(len(response.tokens), np.float32)
    if not is_right(response.reward) and response.steps:
      missing = [name for name in judges if name not in response.verdicts]
      if missing:
        raise ValueError(
          f"{path} has no verdicts of {missing[0]!r}, which judges names, only "
          f"verdicts of {sorted(response.verdicts)}"
        )
      verdicts = [response.verdicts[name] for name in judges]
      given = [verdict for verdict in verdicts if verdict is not None]
      if given:  # the judges with a verdict decide
        steps = token_steps(response.tokens, response.steps, tokenizer)
        # -1 = no step: the last, False
        mark[:] = np.append(consensus(given), False)[steps]
    marks.append(mark)
  return marks


def _check_same(
  path: Path, recorded: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
  """Raise ValueError if the file was not made by the run's own policy."""
  for section, leaf in (
    ("model", "weights"),
    ("task", "name"),
    ("prompt", "template"),
    ("prompt", "chat"),
    ("rollout", "group_size"),
    ("rollout", "temperature"),
    ("rollout", "top_k"),
    ("rollout", "top_p"),
  ):
    value = (recorded.get(section) or {}).get(leaf)
    if value != settings[section][leaf]:
      raise ValueError(
        f"{path} was made with {section}.{leaf} = {value!r}, the run has "
        f"{settings[section][leaf]!r}"
      )


def _parse_line(where: str, line: bytes) -> RecordedResponse:
  """Parse a line.

  Args:
    where: file and number of the line, for messages.
    line: the JSON.

  Raises:
    ValueError: the line is malformed; the message names the key.
  """
  try:
    raw = json.loads(line)
    row = {key: raw[key] for key in RecordedResponse._fields}
  except (ValueError, TypeError, RecursionError) as error:
    raise ValueError(f"{where}: not a JSON object: {error}") from None
  except KeyError as error:
    raise ValueError(f"{where}: lacks {error}") from None
  for key, good in _GOOD.items():
    if not good(row[key]):
      raise ValueError(f"{where}: {key} is {str(row[key])[:80]}")
  response = RecordedResponse(**row)
  spans = [0, *itertools.chain(*response.steps)]
  joined = [a == b for a, b in zip(spans[::2], spans[1::2], strict=False)]
  if response.steps and not (
    all(joined)
    and all(a < b for a, b in response.steps)
    and spans[-1] == len(response.response)
  ):
    raise ValueError(f"{where}: steps do not divide the response")
  for name, verdicts in response.verdicts.items():
    if verdicts is None:
      continue
    if not _are(bool, verdicts) or len(verdicts) != len(response.steps):
      raise ValueError(
        f"{where}: verdicts.{name} is not a list of true or false, one per "
        "step, or null"
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
