"""Keep the ledger of a run: measure single optimizer steps as it trains.

Every `ledger.every` rollout steps, `open_entry` takes one of the update's
optimizer steps again and keeps the parameters before and after it. The next
rollout step has sampled new responses, and `close_entry` measures the step on
them, too. The entry is logged with that next rollout step, as `ledger/...`;
update/ledger_columns.py describes its numbers.

Which of the update's steps is measured changes from entry to entry, so that
steps at which the policy is no longer the one that sampled are measured, too.
Only steps of the first pass over the batch are measured, and not the last of
these, because the column `held_back` needs tokens that no step has trained on.
If a pass has only one step, that step is measured without this column.

The ledger changes nothing in a run. An entry that is open when a run is stopped
is lost.
"""

from typing import NamedTuple

import jax
import numpy as np

from entrojax.assembly.run import Run
from entrojax.masking import scalar_metric
from entrojax.system import hosts
from entrojax.system.sharding import by_row, replicated
from entrojax.types import Array, Batch, Metrics, Params, Responses, TrainState
from entrojax.update.ledger_columns import COLUMNS
from entrojax.update.measured_step import MeasuredStep, Rows, num_measurable


class OpenEntry(NamedTuple):
  """A measured step that waits for the next rollout."""

  step: MeasuredStep
  rollout_step: int  # the rollout batches before the one of the step
  number: int  # of the step in its update, from 0


def is_due(run: Run, rollout_step: int) -> bool:
  """Return whether an entry is opened in a rollout step, counted from 0."""
  every, number = run.settings.ledger.every, rollout_step + 1
  is_last = number == run.settings.num_rollout_steps
  return bool(every) and number % every == 0 and not is_last


def rows_of(run: Run, batch: Batch, responses: Responses) -> Rows:
  """Add the verdicts of responses to a batch."""
  right = np.asarray(responses.correctness) >= 1
  rows = right.astype(np.float32).reshape(-1)
  return Rows(batch, hosts.place(rows, by_row(run.mesh)))


def open_entry(
  run: Run,
  rollout_step: int,
  state: TrainState,
  ref_params: Params | None,
  rows: Rows,
  key: Array,
) -> OpenEntry:
  """Take one optimizer step of an update, which follows, and keep it.

  Args:
    run: the run.
    rollout_step: the rollout batches before this one.
    state: the state before the update; not donated.
    ref_params: the reference's parameters; None: no reference.
    rows: the rollout batch.
    key: the key of the update.
  """
  settings = run.settings.ledger
  entry = (rollout_step + 1) // settings.every - 1
  number = entry % num_measurable(
    run.settings.updates_per_rollout, settings.num_epochs
  )
  place = hosts.place(np.int32(number), replicated(run.mesh))
  step = run.functions.ledger.measure_step(state, ref_params, rows, key, place)
  return OpenEntry(jax.block_until_ready(step), rollout_step, number)


def close_entry(run: Run, entry: OpenEntry, fresh: Rows) -> Metrics:
  """Measure a step on all columns.

  Args:
    run: the run.
    entry: the open entry.
    fresh: the next rollout batch.
  """
  functions, step = run.functions.ledger, entry.step
  number_of_rows = step.own.right.shape[0]
  fresh = functions.first_rows(fresh, number_of_rows)
  metrics = {
    f"own/contribution/{name}": scalar_metric(value)
    for name, value in step.contributions.items()
  }
  columns = zip(COLUMNS, (step.own, step.held_back, fresh), strict=True)
  for name, rows in columns:
    if rows is None:
      continue
    start, end = (
      functions.measure_tokens(
        params,
        step.before,
        step.after,
        rows.batch.tokens,
        rows.batch.positions,
      )
      for params in (step.before, step.after)
    )
    weights = middle = None
    if name == "own":  # the only tokens on which a step is strongly curved
      weights = step.weights
      middle = functions.measure_tokens(
        functions.midpoint(step.before, step.after),
        step.before,
        step.after,
        rows.batch.tokens,
        rows.batch.positions,
      )
    column = functions.column_metrics(rows, start, end, weights, middle)
    metrics |= {f"{name}/{key}": value for key, value in column.items()}
  metrics = {f"ledger/{key}": value for key, value in metrics.items()}
  return jax.block_until_ready(metrics)
