r"""Time the verification of a batch in which some answers hang math-verify.

    python -m experiments.time_verification --num_responses=8192 --share=0.05

The answers are distinct, so no outcome is remembered. A share of them are
towers of powers, on which the package never ends. A quarter of the others are
right but written in another form than the gold, so that the package must
compare them. The rest are right or wrong integers. The command prints the
seconds of the batch, the CPU seconds of all processes, their start included,
and the reasons of its verdicts. It needs `pip install -e '.[math]'`.
"""

from collections import Counter
import os
import time

from absl import flags

from entrojax.answers.process_pool import num_workers
from entrojax.rollouts.rewards import verify_responses
from entrojax.system.command_line import command
from entrojax.tasks.math_answers import MathVerify, make_grader, make_verifier
from entrojax.types import Problem

FLAGS = flags.FlagValues()
_NUM_RESPONSES = flags.DEFINE_integer(
  "num_responses",
  8192,
  "the number of responses in the batch",
  flag_values=FLAGS,
  lower_bound=1,
)
_SHARE = flags.DEFINE_float(
  "share",
  0.05,
  "the share of the responses that hang",
  flag_values=FLAGS,
  lower_bound=0,
  upper_bound=1,
)


def batch(num_responses: int, share: float) -> tuple[list[Problem], list[str]]:
  """Return problems and a response to each."""
  problems, responses = [], []
  for i in range(num_responses):
    gold, answer = str(i), str(i + i % 2)
    if int((i + 1) * share) > int(i * share):
      answer = f"9^{{9^{{9^{{9^{{{i + 1}}}}}}}}}"
    elif i % 4 == 0:
      gold = rf"{2 * i + 3}\sqrt{{3}}"
      answer = rf"\sqrt{{{3 * (2 * i + 3) ** 2}}}"
    problems.append(Problem("?", {"gold": [gold]}))
    responses.append(rf"so \boxed{{{answer}}}")
  return problems, responses


@command(FLAGS)
def main() -> None:
  """Time the batch."""
  grader = make_grader("math_verify")
  verify = make_verifier(grader)
  problems, responses = batch(_NUM_RESPONSES.value, _SHARE.value)
  begin = time.monotonic()
  verdicts = verify_responses(problems, responses, verify)
  seconds = time.monotonic() - begin
  reasons = Counter(row[0].reason for row in verdicts)
  for equal in grader.equalities:
    if isinstance(equal, MathVerify):
      equal.close()  # the time of a process counts when it has ended
  print(
    f"{len(responses)} responses on {num_workers()} processes: "
    f"{seconds:.1f} s, {sum(os.times()[:4]):.1f} CPU s, {dict(reasons)}"
  )


if __name__ == "__main__":
  main()
