"""Wrap functions of a user's own code so that their mistakes are named.

What goes wrong inside them, while JAX traces them, becomes a ValueError of one
line that names the setting and the function. So does a result of another type
or shape.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp

from entrojax.objectives.reference_kl import MissingReferenceError
from entrojax.system.outside import describe
from entrojax.types import (
  AdvantageRule,
  Aggregation,
  Controller,
  Objective,
  Responses,
  TokenLoss,
)


def guard_objective(objective: Objective, where: str) -> Objective:
  """Wrap a member of the chain; `where` names it as in 'objective: mine.py:f'.

  The result raises ValueError if the member raises, or if it does not return a
  TokenLoss whose terms have the shape of the tokens. A MissingReferenceError
  passes: it means that the run must load the reference model.
  """
  _require_callable(objective, where, "an Objective")

  @functools.wraps(objective, updated=())
  def guarded(tokens, token_loss, coefficient, key):
    form = "(tokens, token_loss, coefficient, key)"
    result = _call(where, form, objective, tokens, token_loss, coefficient, key)
    _require_type(result, TokenLoss, where)
    shape = tokens.mask.shape
    for term in (*result.terms, *result.penalties):
      for name in ("loss", "weight"):
        actual = jnp.shape(getattr(term, name))
        if actual != shape:
          raise ValueError(
            f"{where} returned a term whose {name} has the shape {actual}; "
            f"expected that of the tokens, {shape}"
          )
    return result

  return guarded


def guard_rule(rule: AdvantageRule, where: str) -> AdvantageRule:
  """Wrap an advantage rule; see guard_objective."""
  _require_callable(rule, where, "an AdvantageRule")

  @functools.wraps(rule, updated=())
  def guarded(responses):
    result = _call(where, "(responses)", rule, responses)
    _require_type(result, Responses, where)
    return result

  return guarded


def guard_aggregation(aggregate: Aggregation, where: str) -> Aggregation:
  """Wrap an aggregation, and try it on one token; see guard_objective."""
  _require_callable(aggregate, where, "an Aggregation")

  @functools.wraps(aggregate, updated=())
  def guarded(loss, weight):
    result = _call(where, "(loss, weight)", aggregate, loss, weight)
    if jnp.shape(result) != ():
      raise ValueError(
        f"{where} returned an array of shape {jnp.shape(result)}; expected one "
        "number, of shape ()"
      )
    return result

  token = jnp.zeros((1, 1), jnp.float32)
  jax.eval_shape(guarded, token, token)
  return guarded


def guard_template(
  template: Callable[[str], str], where: str
) -> Callable[[str], str]:
  """Wrap a prompt template; see guard_objective."""

  @functools.wraps(template, updated=())
  def guarded(question):
    result = _call(where, "(question)", template, question)
    if not isinstance(result, str):
      raise ValueError(
        f"{where} returned {result!r:.80} for the question {question!r:.80}; "
        "expected a text"
      )
    return result

  return guarded


def check_controller(controller: Controller, where: str) -> Controller:
  """Trace a controller on one update; raise ValueError if that fails."""
  _require_type(controller, Controller, where)

  def trace(entropy):
    state = controller.transform.init({})
    _, state = controller.transform.update({}, state, {}, entropy=entropy)
    return (
      controller.coefficient(state, entropy),
      controller.metrics(state, entropy),
    )

  form = "entrojax.types.Controller describes"
  entropy = jnp.float32(0.0)
  coefficient, _ = _call(where, form, jax.eval_shape, trace, entropy)
  if coefficient.shape != ():
    raise ValueError(
      f"{where} has a coefficient of shape {coefficient.shape}; expected one "
      "number, of shape ()"
    )
  return controller


def _call(where: str, form: str, function: Callable, *args: Any) -> Any:
  """Call a function; convert what it raises to a ValueError of one line."""
  try:
    return function(*args)
  except MissingReferenceError:
    raise
  except Exception as error:
    raise ValueError(
      f"{where} raised {describe(error)}; it is called as {form}"
    ) from error


def _require_callable(value: Any, where: str, form: str) -> None:
  if not callable(value):
    raise ValueError(f"{where} is {value!r:.80}; expected {form}, a function")


def _require_type(value: Any, expected: type, where: str) -> None:
  if not isinstance(value, expected):
    raise ValueError(
      f"{where} returned a value of type {type(value).__name__}; expected a "
      f"{expected.__name__}"
    )
