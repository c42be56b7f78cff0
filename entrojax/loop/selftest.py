"""Test a run on its own model and machine before it costs anything.

`self_test` takes the first rollout step of a run and writes nothing. It checks
that sampler and trainer compute the same log-probs, that responses end and
differ, and that the gradient is finite and not 0. It also checks disk and
memory with `start_checks`, which needs no step: every run calls it at its start
and prints only its warnings. `format_checks` writes one line for each check.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
import shutil
from typing import Any, NamedTuple

import jax
import numpy as np

from entrojax.assembly.run import Run
from entrojax.loop.rollout_step import (
  Position,
  start_step,
  step_metrics,
  wait_for_update,
)
from entrojax.reporting.inert_controls import ControlEffects
from entrojax.rollouts.rewards import decode_responses
from entrojax.system import hosts
from entrojax.system.memory import memory_of
from entrojax.system.sharding import replicated
from entrojax.types import Rollout

OK, WARNING, FAILED = "ok", "warning", "failed"
_GIGABYTE = 1e9
_MISMATCH = "rollout/log_prob_diff_max"
_LIMITS = {"float32": 1e-2, "bfloat16": 0.5}  # of it, nats per token


class Check(NamedTuple):
  """One line of the table."""

  name: str
  status: str  # OK, WARNING or FAILED
  text: str


def self_test(run: Run, workdir: Path, *, dtype: str) -> list[Check]:
  """Test a run on one rollout step; its state is used up.

  Args:
    run: the run.
    workdir: the run directory; nothing is written there.
    dtype: the type of the activations, "float32" or "bfloat16".
  """
  checks = start_checks(run, workdir)
  key = hosts.place(jax.random.key(run.settings.seed), replicated(run.mesh))
  rollouts: list[Rollout] = []

  def generate(*arguments: Any) -> Rollout:
    rollouts.append(run.functions.generate(*arguments))
    return rollouts[-1]

  functions = run.functions._replace(generate=generate)
  position = Position(run.state, run.ref_params, key, 0, step=0, tokens=0)
  _, record = start_step(run._replace(functions=functions), position)
  metrics = step_metrics(run, wait_for_update(record))
  if rollouts:
    if _MISMATCH in metrics:  # the update of an offline run does not measure it
      checks.append(_check_sampler(metrics, dtype))
    checks += _check_samples(run, rollouts[0])
  checks.append(_check_update(metrics))
  checks += _check_controls(run.settings.log.controls, metrics)
  return checks


def start_checks(run: Run, workdir: Path) -> list[Check]:
  """Compare what a run will need with the disk and the memory that there are.

  Args:
    run: the run.
    workdir: the run directory, which may not exist yet.
  """
  settings = run.settings.checkpoint
  keep = settings.keep + bool(settings.keep_best)
  keep += 2 * (settings.keep_age is not None)
  state = _num_bytes(run.state)
  needed = (keep + 1) * state  # one more while it is written
  place = next(p for p in (workdir, *workdir.absolute().parents) if p.exists())
  free = shutil.disk_usage(place).free
  disk = Check(
    "disk",
    OK if needed < free else WARNING,
    f"{keep + 1} checkpoints take {_gigabytes(needed)} of {_gigabytes(free)}",
  )
  # gradient and step are as large as the parameters
  needed = state + 2 * _num_bytes(run.state.params)
  needed += _num_bytes(run.ref_params)
  devices = [d for d in run.mesh.devices.flat if d.process_index == _here()]
  limit = memory_of(devices)
  if limit is None:
    return [disk]
  fits = needed / run.mesh.devices.size * len(devices) < limit
  memory = Check(
    "memory",
    OK if fits else WARNING,
    f"state and gradients take {_gigabytes(needed)} on "
    f"{run.mesh.devices.size} devices, without activations; the "
    f"{len(devices)} of this process have {_gigabytes(limit)}",
  )
  return [disk, memory]


def format_checks(checks: Sequence[Check]) -> str:
  """Format checks as a table."""
  return "\n".join(
    f"{check.status:8} {check.name:10} {check.text}" for check in checks
  )


def is_passed(checks: Sequence[Check]) -> bool:
  """Return whether no check has failed."""
  return all(check.status != FAILED for check in checks)


def _check_sampler(metrics: Mapping[str, Any], dtype: str) -> Check:
  """Compare the sampler's log-probs with the trainer's."""
  difference, limit = metrics[_MISMATCH], _LIMITS[dtype]
  return Check(
    "sampler",
    OK if difference <= limit else FAILED,
    f"sampler and trainer differ by at most {difference:.1e} nats per token; "
    f"{limit:g} is allowed in {dtype}",
  )


def _check_samples(run: Run, rollout: Rollout) -> list[Check]:
  """Look at the ends, the variety and the padding of the first responses."""
  number = run.settings.rollout.num_prompts
  share = hosts.share(rollout.tokens, number)
  own = hosts.own_rows(rollout, share.held, number)
  truncated = float(np.mean(own.truncated))
  ends = Check(
    "ends",
    OK if truncated < 1 else WARNING,
    f"{1 - truncated:.0%} of the responses end with one of the EOS tokens "
    f"{list(run.data.tokenizer.eos_ids)}",
  )
  texts = np.array(decode_responses(own, run.data.tokenizer), dtype=object)
  groups = texts.reshape(len(share.held), -1)
  constant = float(np.mean([len(set(group)) == 1 for group in groups]))
  samples = Check(
    "samples",
    OK if constant < 1 else FAILED,
    f"all responses are the same in {constant:.0%} of the groups",
  )
  padding = float(np.mean(np.asarray(own.positions) < 0))
  return [ends, samples, Check("padding", OK, f"{padding:.0%} of the tokens")]


def _check_update(metrics: Mapping[str, Any]) -> Check:
  """Check that the first update has a finite gradient other than 0."""
  norm = metrics["actor/grad_norm"]
  text = f"the gradient's norm is {norm:.3g}"
  if metrics["actor/skipped"]:
    return Check("update", FAILED, f"{text}: the update was skipped")
  if metrics["actor/idle"]:
    return Check("update", WARNING, f"{text}: no group had a signal")
  return Check("update", OK, text)


def _check_controls(
  names: Sequence[str], metrics: Mapping[str, Any]
) -> list[Check]:
  """Say what each control did to the gradient of the first update."""
  checks = []
  for name in names:
    for note in ControlEffects((name,)).notes(metrics):
      change = metrics.get(f"{name}/gradient_change", 1.0)
      status = OK if change and np.isfinite(change) else WARNING
      checks.append(Check("control", status, note))
  return checks


def _here() -> int:
  return jax.process_index()


def _num_bytes(tree: Any) -> int:
  """Count the bytes of all arrays of a tree, keys left out."""
  return sum(
    x.size * x.dtype.itemsize
    for x in jax.tree.leaves(tree)
    if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
  )


def _gigabytes(size: float) -> str:
  return f"{size / _GIGABYTE:.3g} GB"
