"""Build the jitted functions of the ledger and of a replay (instruments)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict
import optax

from entrojax.assembly.model import Policy, bind, jit_unbound
from entrojax.system.sharding import by_row
from entrojax.types import Metrics, Model, Params
from entrojax.update.ledger_columns import column_metrics
from entrojax.update.measured_step import (
  MeasureStep,
  Rows,
)
from entrojax.update.replayed_step import ReplayStep
from entrojax.update.token_changes import TokenChanges, make_token_changes


class LedgerFunctions(NamedTuple):
  """The jitted functions of a ledger, compiled when they are first called."""

  measure_step: MeasureStep
  # (params, params before the step, params after it, tokens, positions) -> the
  # tokens under `params`
  measure_tokens: Callable[..., TokenChanges]
  midpoint: Callable[[Params, Params], Params]  # half-way along a step
  # (rows, tokens before the step, after it, weights or None, tokens in the
  # middle of the step or None) -> one column
  column_metrics: Callable[..., Metrics]
  first_rows: Callable[[Rows, int], Rows]  # the first rows of a batch
  replay_step: ReplayStep


class UnboundFunctions(NamedTuple):
  """The same functions, some with a frozen base first, if any."""

  measure_step: Callable[..., Any]
  measure_tokens: Callable[..., Any]
  midpoint: Callable[[Params, Params], Params]
  column_metrics: Callable[..., Metrics]
  first_rows: Callable[[Rows, int], Rows]
  replay_step: Callable[..., Any]

  def bind(self, policy: Policy) -> LedgerFunctions:
    """Give the functions the frozen base of a policy, if any."""
    return LedgerFunctions(
      bind(self.measure_step, policy),
      bind(self.measure_tokens, policy),
      self.midpoint,
      self.column_metrics,
      self.first_rows,
      bind(self.replay_step, policy),
    )


def jit_ledger(
  settings: FrozenConfigDict,
  make_step: Callable[[Model], MeasureStep],
  make_replay: Callable[[Model], ReplayStep],
  model: Model,
  mesh: Mesh,
  *,
  has_base: bool,
) -> UnboundFunctions:
  """Jit the functions of a ledger.

  Args:
    settings: config.rollout and config.training are read.
    make_step: model -> the function of make_measured_step.
    make_replay: model -> the function of make_replayed_step.
    model: the policy.
    mesh: the mesh that rows are split over.
    has_base: whether the model's parameters are an adapter of a frozen base.
  """

  def make_tokens(model: Model) -> Callable[..., TokenChanges]:
    measure = make_token_changes(
      model,
      response_length=settings.rollout.response_length,
      group_size=settings.rollout.group_size,
      temperature=settings.rollout.temperature,
      num_microbatches=settings.training.num_microbatches,
      mesh=mesh,
    )

    def measure_tokens(params, before, after, tokens, positions):
      step = optax.tree.sub(after, before)
      return measure(params, step, tokens, positions)

    return measure_tokens

  rows = by_row(mesh)
  return UnboundFunctions(
    measure_step=jit_unbound(make_step, model, has_base=has_base),
    measure_tokens=jit_unbound(
      make_tokens, model, has_base=has_base, out_shardings=rows
    ),
    midpoint=jax.jit(
      lambda before, after: jax.tree.map(
        lambda x, y: x + (y - x) / 2, before, after
      )
    ),
    column_metrics=jax.jit(column_metrics),
    first_rows=jax.jit(
      lambda rows, number: jax.tree.map(lambda x: x[:number], rows),
      static_argnums=1,
      out_shardings=rows,
    ),
    replay_step=jit_unbound(make_replay, model, has_base=has_base),
  )
