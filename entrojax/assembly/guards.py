"""Wrap functions of a user's own code so that their mistakes are named.

Whatever such a function raises, while JAX traces it or later, becomes a
ValueError of one line that names the setting and the function. So does a result
of another type or shape. In all functions here, `where` names the setting and
the function, as in 'objective: mine.py:loss'.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import itertools
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from entrojax.judges.segmentation import Segmenter, Span
from entrojax.objectives.reading import reading, statistics_read
from entrojax.objectives.reference_kl import MissingReferenceError
from entrojax.system.outside import describe
from entrojax.types import (
  AdvantageRule,
  Aggregation,
  Array,
  Controller,
  Mean,
  Objective,
  Reasoning,
  Responses,
  ScoredTokens,
  StepJudge,
  TokenLoss,
)

_Function = TypeVar("_Function", bound=Callable)


def _guard(
  function: _Function,
  where: str,
  arguments: str,
  check: Callable[..., str | None],
) -> _Function:
  """Wrap a function.

  Args:
    function: the function.
    where: see this module's docstring.
    arguments: how it is called, for messages, such as "(loss, weight)".
    check: (result, *arguments) -> what is wrong with the result, None if
      nothing is.
  """
  if not callable(function):
    raise ValueError(
      f"{where} is {function!r:.80}; expected a function of {arguments}"
    )

  @functools.wraps(function, updated=())
  def guarded(*args):
    result = _call(where, arguments, function, *args)
    problem = check(result, *args)
    if problem:
      raise ValueError(f"{where} returned {problem}")
    return result

  return guarded  # type: ignore[return-value]


def _call(where: str, arguments: str, function: Callable, *args: Any) -> Any:
  """Call a function; convert what it raises to a ValueError of one line.

  A MissingReferenceError passes: it means that the run must load the reference
  model.
  """
  try:
    return function(*args)
  except MissingReferenceError:
    raise
  except Exception as error:
    raise ValueError(
      f"{where} raised {describe(error)}; it is called with {arguments}"
    ) from error


def _other_type(value: Any, expected: type) -> str | None:
  """Describe a value that is not of a type; None if it is."""
  if isinstance(value, expected):
    return None
  # a traced array has a type of JAX's own
  kind = "Array" if isinstance(value, jax.Array) else type(value).__name__
  return f"a value of type {kind}; expected a {expected.__name__}"


def _wrong_metrics(metrics: Any) -> str | None:
  """Describe metrics that cannot be logged; None if they can."""
  if not isinstance(metrics, Mapping):
    return (
      f"metrics of type {type(metrics).__name__}; expected a dict from names "
      "to values of type Mean"
    )
  for name, value in metrics.items():
    if wrong := _other_type(value, Mean):
      return (
        f"as the metric {name!r} {wrong}: build it with mean_metric, "
        "share_metric or scalar_metric of entrojax.masking"
      )
    shapes = jnp.shape(value.total), jnp.shape(value.count)
    if len(shapes[0]) > 1 or shapes[1]:
      return (
        f"the metric {name!r}, whose total has the shape {shapes[0]} and whose "
        f"count has the shape {shapes[1]}; expected numbers, or a list of "
        "totals and one count"
      )
  return None


def guard_objective(objective: Objective, where: str) -> Objective:
  """Wrap a member of the chain, whose terms must have the tokens' shape."""

  def check(result: Any, tokens: ScoredTokens, *_: Any) -> str | None:
    if wrong := _other_type(result, TokenLoss):
      return wrong
    expected = tokens.mask.shape
    for term in (*result.terms, *result.penalties):
      for name in ("loss", "weight"):
        shape = jnp.shape(getattr(term, name))
        if shape != expected:
          return (
            f"a term whose {name} has the shape {shape}; expected the shape of "
            f"the tokens, {expected}"
          )
    return _wrong_metrics(result.metrics)

  arguments = "(tokens, token_loss, coefficient, key)"
  guarded = _guard(objective, where, arguments, check)
  return reading(guarded, *statistics_read(objective))


def guard_rule(rule: AdvantageRule, where: str) -> AdvantageRule:
  """Wrap an advantage rule, whose results must have the shape of the rewards.

  They become float32, so that a rule may return lists, integers and bools.
  """
  fields = ("rewards", "advantages", "keep")

  def check(result: Any, responses: Responses) -> str | None:
    if wrong := _other_type(result, Responses):
      return wrong
    expected = responses.rewards.shape
    for name in fields:
      value = getattr(result, name)
      if value is None and name != "rewards":
        continue
      try:
        shape = jnp.asarray(value, jnp.float32).shape
      except (TypeError, ValueError):
        return f"{name} that are no array of numbers, {value!r:.80}"
      if shape != expected:
        return (
          f"{name} of the shape {shape}; expected the shape of the rewards, "
          f"{expected}"
        )
    return _wrong_metrics(result.metrics)

  guarded = _guard(rule, where, "(responses)", check)

  @functools.wraps(guarded)
  def converted(responses: Responses) -> Responses:
    result = guarded(responses)
    values = {name: getattr(result, name) for name in fields}
    arrays: dict[str, Any] = {
      name: jnp.asarray(value, jnp.float32)
      for name, value in values.items()
      if value is not None
    }
    return dataclasses.replace(result, **arrays)

  return converted


def guard_aggregation(aggregate: Aggregation, where: str) -> Aggregation:
  """Wrap an aggregation, and try it on two rows of three tokens."""

  def check(result: Any, *_: Array) -> str | None:
    if jnp.shape(result) == ():
      return None
    return f"an array of shape {jnp.shape(result)}; expected one number"

  guarded = _guard(aggregate, where, "(loss, weight)", check)
  tokens = jnp.zeros((2, 3), jnp.float32)
  jax.eval_shape(guarded, tokens, tokens)
  return guarded


def guard_template(
  template: Callable[[str], str], where: str
) -> Callable[[str], str]:
  """Wrap a prompt template."""
  check = lambda result, _: _other_type(result, str)
  return _guard(template, where, "(question)", check)


def guard_segmenter(segment: Segmenter, where: str) -> Segmenter:
  """Wrap a segmenter, whose spans must cover the text without gaps."""

  def check(spans: Sequence[Span], text: str) -> str | None:
    edges = [0, *itertools.chain.from_iterable(spans), len(text)]
    pairs = list(zip(edges[::2], edges[1::2], strict=True))
    if all(end == start for end, start in pairs):
      return None
    return (
      f"{spans!r:.80} for a text of {len(text)} characters; expected spans "
      "(start, end) that cover it in order and without gaps"
    )

  return _guard(segment, where, "(text)", check)


def guard_judge(judge: StepJudge, where: str) -> StepJudge:
  """Wrap a judge, which must return one bool for each step, or None."""

  def check(result: Any, responses: Sequence[Reasoning]) -> str | None:
    actual = [None if x is None else len(x) for x in result]
    expected = [len(response.steps) for response in responses]
    if len(actual) == len(expected) and all(
      a in (None, e) for a, e in zip(actual, expected, strict=True)
    ):
      return None
    return (
      f"{actual!r:.80} verdicts for responses of {expected!r:.80} steps; "
      "expected one bool for each step, or None without a verdict"
    )

  return _guard(judge, where, "(responses)", check)


def check_controller(controller: Controller, where: str) -> Controller:
  """Trace a controller on one update; raise ValueError if that fails.

  Its state must keep its structure, shapes and types: otherwise the second
  update would be compiled anew, and a checkpoint would not fit.
  """
  if wrong := _other_type(controller, Controller):
    raise ValueError(f"{where} returned {wrong}")

  def trace(entropy: Array):
    start = controller.transform.init({})
    _, state = controller.transform.update({}, start, {}, entropy=entropy)
    results = (
      start,
      state,
      controller.coefficient(state, entropy),
      controller.metrics(state, entropy),
    )
    return jax.tree.map(jnp.asarray, results)

  start, state, coefficient, metrics = _call(
    where, "(state, entropy)", jax.eval_shape, trace, jnp.float32(0.0)
  )
  if _shape(coefficient) != ():
    raise ValueError(
      f"{where} has a coefficient of {_describe_tree(coefficient)}; expected "
      "one number"
    )
  if not isinstance(metrics, Mapping):
    raise ValueError(
      f"{where} has metrics of type {type(metrics).__name__}; expected a dict "
      "from names to numbers"
    )
  for name, value in metrics.items():
    if _shape(value) != ():
      raise ValueError(
        f"{where} has the metric {name!r} of {_describe_tree(value)}; expected "
        "one number"
      )
  before, after = _describe_tree(start), _describe_tree(state)
  if before != after:
    raise ValueError(
      f"{where} has a state that its update changes from {before} to {after}; "
      "expected the same structure, shapes and types"
    )
  return controller


def _shape(value: Any) -> tuple[int, ...] | None:
  """Return the shape of a traced array; None for anything else."""
  return getattr(value, "shape", None)


def _describe_tree(value: Any) -> str:
  """Describe a pytree of traced arrays in one line."""
  if _shape(value) is not None:
    return f"shape {value.shape} and type {value.dtype}"
  arrays = jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", value)
  return str(arrays).replace("'", "")
