"""Turn sampled rollouts into the lines of a file of recorded rollouts.

`response_lines` decodes and verifies the responses. `add_verdicts` then adds
steps and the judges' verdicts on them, if there are judges, to wrong responses
whose group also has right ones. The lines are dictionaries; the caller writes
them (assembly/offline.py). recorded.py describes the file and reads it.
"""

from collections.abc import Mapping, Sequence
import itertools
from typing import Any

from entrojax.data.tokenizer import Tokenizer
from entrojax.judges.segmentation import Segmenter
from entrojax.rollouts.recorded import RecordedResponse, is_right
from entrojax.rollouts.rewards import decode_responses, verify_responses
from entrojax.types import Problem, Reasoning, Rollout, StepJudge, Verifier


def response_lines(
  rollout: Rollout,
  problems: Mapping[int, Problem],
  tokenizer: Tokenizer,
  verify: Verifier,
) -> list[dict[str, Any]]:
  """Decode and verify a rollout; return a line per response, without steps.

  Args:
    rollout: on the host; the responses of a problem are neighbouring rows.
    problems: row in the split -> problem, in the order of the rollout.
    tokenizer: the policy's tokenizer.
    verify: the task's verifier.
  """
  texts = decode_responses(rollout, tokenizer)
  group_size = len(texts) // len(problems)
  verdicts = verify_responses(list(problems.values()), texts, verify)
  numbers = [number for number in problems for _ in range(group_size)]
  length = rollout.response_mask.shape[1]
  return [
    RecordedResponse(
      problem=number,
      prompt=problems[number].prompt,
      response=text,
      tokens=tokens[mask > 0].tolist(),
      truncated=bool(truncated),
      reward=float(verdict.reward),
      reason=verdict.reason,
      answer=verdict.answer,
      steps=[],
      verdicts={},
    )._asdict()
    for number, text, verdict, tokens, mask, truncated in zip(
      numbers,
      texts,
      itertools.chain(*verdicts),
      rollout.tokens[:, -length:],
      rollout.response_mask,
      rollout.truncated,
      strict=True,
    )
  ]


def add_verdicts(
  lines: Sequence[dict[str, Any]],
  problems: Sequence[Problem],
  segment: Segmenter,
  judges: Mapping[str, StepJudge],
) -> None:
  """Add steps and verdicts to the wrong responses of groups with a signal.

  A group has a signal if it has right responses too.

  Args:
    lines: the lines of whole groups; changed in place.
    problems: the whole split, with the prompts that the judges should read.
    segment: cuts a response into steps.
    judges: name -> judge; without judges no response is cut into steps.
  """
  if not judges:
    return
  solved = {x["problem"] for x in lines if is_right(x["reward"])}
  wrong = [
    line
    for line in lines
    if line["problem"] in solved and not is_right(line["reward"])
  ]
  for line in wrong:
    line["steps"] = segment(line["response"])
  reasonings = [
    Reasoning(
      problems[line["problem"]],
      [line["response"][start:end] for start, end in line["steps"]],
    )
    for line in wrong
  ]
  for name, judge_steps in judges.items():
    for line, right in zip(wrong, judge_steps(reasonings), strict=True):
      line["verdicts"][name] = right
