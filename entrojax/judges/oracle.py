"""The exact judge of a task that knows which steps are right."""

from entrojax.types import StepJudge, Task


def oracle(task: Task) -> StepJudge:
  """Makes the judge.

  Raises:
    ValueError: the task has none.
  """
  judge_steps = task.judge_steps
  if judge_steps is None:
    raise ValueError(
      f"judges has 'oracle', but task {task.name!r} has no exact judge of steps"
    )
  return lambda asked: [judge_steps(*reasoning) for reasoning in asked]
