"""Say which updates were skipped, and end a run that skips one after another.

The update skips an optimizer step whose loss, gradient or step is not finite
(update/soundness.py). Each such rollout step is reported with what was not
finite. After `faults.max_in_a_row` of them in a row the run ends: it is saved
as usual, and the last batch is kept in the run directory as with
`log.keep_batches`, so that entrojax.replay can repeat its update. The same
command then resumes with the next batch.

The kept parameters and moments are those after the rollout step. If all of its
optimizer steps were skipped, they are also those before it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from entrojax.assembly.run import Run
from entrojax.instruments.kept_batches import batch_path, write_batch
from entrojax.loop.rollout_step import StepRecord
from entrojax.masking import finalize
from entrojax.system import hosts
from entrojax.types import Batch, Params
from entrojax.update.soundness import Marks, tensor_names

_MOST_NAMES = 3  # tensors that a message names


class Faults:
  """Watches the skipped updates of a run; every process makes the same calls.

  Attributes:
    reason: why the run has to end; "" while it need not.
  """

  def __init__(self, run: Run, workdir: Path, report: Callable[[str], None]):
    """Watch a run.

    Args:
      run: the run.
      workdir: the run directory.
      report: takes a line about a step with a skipped update.
    """
    self.reason = ""
    self._most, self._report = run.settings.max_faults, report
    self._updates = run.settings.updates_per_rollout
    self._workdir = workdir
    self._in_a_row = 0

  def check(self, record: StepRecord) -> StepRecord:
    """Check a step whose update has ended; return it without its batch."""
    if record.marks is None:
      self._in_a_row = 0
      return record
    assert record.batch is not None and record.copy is not None
    # what follows is for the host alone, and happens in no step that is well
    with jax.transfer_guard("allow"):
      batch = hosts.whole(record.batch)
      params = record.position.state.params
      metrics = finalize(record.metrics)
      text = describe_fault(metrics, record.marks, batch, params)
    self._in_a_row += 1
    number = record.position.rollout_step
    self._report(
      f"rollout step {number}: {record.marks.skipped} of {self._updates} "
      f"optimizer steps skipped: {text}"
    )
    if self._in_a_row >= self._most:
      with jax.transfer_guard("allow"):
        kept = record.copy(record.position.state)
      place = f"is in {batch_path(self._workdir, number)} for entrojax.replay"
      if hosts.is_first():
        try:
          write_batch(self._workdir, kept)
        except OSError as error:
          place = f"could not be kept ({error})"
      self.reason = (
        f"the run ends after rollout step {number}: optimizer steps were "
        f"skipped in {self._in_a_row} rollout steps in a row "
        f"(faults.max_in_a_row), in the last one because {text}. It is saved, "
        f"and the last batch {place}. Run the same command again to resume "
        "with the next batch"
      )
    return record._replace(batch=None, copy=None)


def describe_fault(
  metrics: Mapping[str, Any], marks: Marks, batch: Batch, params: Params
) -> str:
  """Say why optimizer steps were skipped, from the cause to its effects.

  Args:
    metrics: the numbers of an update in which a step was skipped.
    marks: what was not finite in it.
    batch: its batch, on the host.
    params: a tree as the gradient, for the names of its tensors.
  """
  parts = []
  for field in ("advantages", "old_log_probs"):
    rows = np.argwhere(~np.isfinite(getattr(batch, field)).all(axis=1))
    if rows.size:
      name = field.replace("_", " ")
      parts.append(f"the {name} of response {rows[0][0]} of the batch")
  if not np.isfinite(metrics.get("actor/ppo_kl", 0.0)):
    parts.append("the policy's log-probs")
  if not np.isfinite(metrics["actor/loss"]):
    parts.append("the loss")
  names = tensor_names(params, marks)
  if names:
    rest = len(names) - _MOST_NAMES
    more = f" and {rest} more tensors" if rest > 0 else ""
    parts.append(f"the gradient of {', '.join(names[:_MOST_NAMES])}{more}")
  elif not np.isfinite(metrics["actor/update_norm"]):
    parts.append("the optimizer's step")
  if parts:
    return f"not finite: {'; '.join(parts)}"
  norm = metrics["actor/grad_norm"]
  return f"the gradient's norm is above optimizer.skip_grad_norm (mean {norm})"
