"""The oracle: the exact judge of a task that knows which steps are right.

The task's own `judge_steps` decides. Among the tasks of this package
arithmetic_chain and countdown_steps have one.
"""

from entrojax.types import StepJudge, Task


def oracle(*, task: Task) -> StepJudge:
  """Build the judge from the task's own `judge_steps`.

  Args:
    task: the task, such as arithmetic_chain, whose problems will be judged.

  Raises:
    ValueError: the task has no exact judge of steps.
  """
  judge_steps = task.judge_steps
  if judge_steps is None:
    raise ValueError(
      f"judges has 'oracle', but task {task.name!r} has no exact judge of steps"
    )
  return lambda reasonings: [judge_steps(*r) for r in reasonings]
