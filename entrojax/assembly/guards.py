"""Wrap functions of a user's own code so that their mistakes are named.

Whatever such a function raises, while JAX traces it or later, becomes a
ValueError of one line that names the setting and the function. So does a result
of another type or shape. In all functions here, `where` names the setting and
the function, as in 'objective: mine.py:loss'.
"""

from collections.abc import Callable, Sequence
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
  return (
    f"a value of type {type(value).__name__}; expected a {expected.__name__}"
  )


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
    return None

  arguments = "(tokens, token_loss, coefficient, key)"
  guarded = _guard(objective, where, arguments, check)
  return reading(guarded, *statistics_read(objective))


def guard_rule(rule: AdvantageRule, where: str) -> AdvantageRule:
  """Wrap an advantage rule."""
  check = lambda result, _: _other_type(result, Responses)
  return _guard(rule, where, "(responses)", check)


def guard_aggregation(aggregate: Aggregation, where: str) -> Aggregation:
  """Wrap an aggregation, and try it on one token."""

  def check(result: Any, *_: Array) -> str | None:
    if jnp.shape(result) == ():
      return None
    return f"an array of shape {jnp.shape(result)}; expected one number"

  guarded = _guard(aggregate, where, "(loss, weight)", check)
  token = jnp.zeros((1, 1), jnp.float32)
  jax.eval_shape(guarded, token, token)
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
  """Trace a controller on one update; raise ValueError if that fails."""
  if wrong := _other_type(controller, Controller):
    raise ValueError(f"{where} returned {wrong}")

  def trace(entropy: Array):
    state = controller.transform.init({})
    _, state = controller.transform.update({}, state, {}, entropy=entropy)
    return (
      controller.coefficient(state, entropy),
      controller.metrics(state, entropy),
    )

  coefficient, _ = _call(
    where, "(state, entropy)", jax.eval_shape, trace, jnp.float32(0.0)
  )
  if coefficient.shape != ():
    raise ValueError(
      f"{where} has a coefficient of shape {coefficient.shape}; expected one "
      "number"
    )
  return controller
