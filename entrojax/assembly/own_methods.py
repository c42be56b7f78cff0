"""Pass functions to a run in place of the names in its config.

The config of such a run records a name for each function, so that config.json
shows what ran, and a run is not resumed with a function of another name. Only
names are compared: a function whose code or bound values have changed passes.
"""

from collections.abc import Callable, Mapping
import copy
import functools
import inspect
import os
from typing import Any, NamedTuple

from ml_collections import ConfigDict as Config

from entrojax.assembly.guards import check_controller
from entrojax.schedules import Scheduled, at
from entrojax.tasks.own import Source, own_task
from entrojax.types import AdvantageRule, Controller, Objective, Task

# a Task, or a reward function and its problems; see tasks/own.py
TaskArgument = Task | tuple[Callable, Source]


class OwnMethods(NamedTuple):
  """The functions of a run that its config does not name. Hashable."""

  members: tuple[tuple[str, Objective], ...] = ()  # (): as the config says
  rules: tuple[tuple[str, AdvantageRule], ...] = ()  # (): as the config says
  # None: as the config says
  controller: Controller | Scheduled[Controller] | None = None


class OwnTask(NamedTuple):
  """A task that the config does not name."""

  task: Task
  name: str  # for the config, PLACE:NAME
  data_dir: str | None  # where its problems are; None: they were passed, too


NO_METHODS = OwnMethods()  # the config names everything


def own_methods(
  objective: Objective | Mapping[str, Objective] | None = None,
  advantage: AdvantageRule | Mapping[str, AdvantageRule] | None = None,
  controller: Controller | Scheduled[Controller] | None = None,
) -> OwnMethods:
  """Check functions that a caller passes.

  Args:
    objective: the whole chain: one objective, or its members by name, in order.
    advantage: one rule, or rules by name, in order.
    controller: the controller.

  Raises:
    ValueError: an argument has another type, or the controller cannot work.
  """
  if controller is not None:
    if not isinstance(controller, Controller | Scheduled):
      raise ValueError(
        f"controller is {controller!r:.80}; expected an "
        "entrojax.types.Controller"
      )
    check_controller(at(controller, 0), "controller")
  return OwnMethods(
    _by_name(objective, "objective"),
    _by_name(advantage, "advantage"),
    controller,
  )


def make_own_task(task: TaskArgument) -> OwnTask:
  """Build the task that a caller passes.

  Raises:
    ValueError: it is neither a Task nor (reward function, problems).
  """
  if isinstance(task, Task):
    return OwnTask(task, f"{qualified_name(task.verify)}:{task.name}", None)
  if not (isinstance(task, tuple) and len(task) == 2 and callable(task[0])):
    raise ValueError(
      f"task is {task!r:.80}; expected an entrojax.types.Task, or a reward "
      "function and its problems, as in task=(reward, 'problems.jsonl')"
    )
  function, problems = task
  name = f"{qualified_name(function)}:{_short_name(function, 'reward')}"
  data_dir = str(problems) if isinstance(problems, str | os.PathLike) else None
  return OwnTask(own_task(function, problems, name=name), name, data_dir)


def record_names(
  config: Config, methods: OwnMethods, task: OwnTask | None
) -> Config:
  """Return a copy of a config that names what a caller passes.

  Args:
    config: the settings of the run; not changed.
    methods: replaces its objective, advantage and controller.
    task: replaces its task; None: it keeps its task.
  """
  config = copy.deepcopy(config)
  for key, pairs in (
    ("objective", methods.members),
    ("advantage", methods.rules),
  ):
    if pairs:
      config[key] = tuple(f"{qualified_name(f)}:{name}" for name, f in pairs)
  if methods.controller is not None:
    controller = methods.controller
    function: Any = controller
    if isinstance(controller, Controller):
      function = controller.coefficient
    name = _short_name(function, "controller")
    config.control.name = f"{qualified_name(function)}:{name}"
  if task is not None:
    config.task.name = task.name
    config.task.data_dir = task.data_dir
  return config


def qualified_name(function: Callable) -> str:
  """Return the module and the name of a function, 'package.module.name'.

  For a callable object it is the name of its class, for a functools.partial the
  name of the function inside.
  """
  function = inspect.unwrap(function)
  while isinstance(function, functools.partial):
    function = inspect.unwrap(function.func)
  named: Any = function if hasattr(function, "__qualname__") else type(function)
  return f"{named.__module__}.{named.__qualname__}"


def _by_name(functions: Any, key: str) -> tuple[tuple[str, Any], ...]:
  """Return functions with their names; () for None."""
  if functions is None:
    return ()
  if not isinstance(functions, Mapping):
    if not callable(functions):
      raise ValueError(
        f"{key} is {functions!r:.80}; expected a function, or functions by name"
      )
    functions = {_short_name(functions, key): functions}
  if not functions:
    raise ValueError(f"{key} is empty: it needs at least one function")
  for name, function in functions.items():
    if not callable(function):
      raise ValueError(
        f"{key}: {name} is {function!r:.80}; expected a function"
      )
  return tuple((name, _hashable(f)) for name, f in functions.items())


def _hashable(function: Callable) -> Callable:
  """Return the function, wrapped if it cannot be a key of a cache itself."""
  try:
    hash(function)
  except TypeError:
    return functools.partial(function)
  return function


def _short_name(function: Any, default: str) -> str:
  """Return a name for metrics: the name of the outermost function."""
  name = qualified_name(function).partition(".<locals>")[0].rpartition(".")[2]
  return name if name.isidentifier() else default
