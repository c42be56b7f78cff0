"""Run one rollout step: prompts, rollout, verdicts, advantages, update.

`start_step` samples responses from the policy and verifies them; with dynamic
sampling it does so for several batches. An offline run takes responses and
verdicts from a file of recorded rollouts instead. The advantage rules follow,
and then an update, which takes one optimizer step or several. The function
returns while the update still runs on the device. `wait_for_update` waits for
it, and `step_metrics` collects the metrics of the step.

At the first step of a later curriculum stage, the optimizer starts afresh and
the policy becomes the reference.
"""

from collections.abc import Callable, Mapping, Sequence
import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.assembly.data import Data
from entrojax.assembly.run import Run
from entrojax.instruments.kept_batches import KeptBatch, copy_batch
from entrojax.instruments.ledger import (
  OpenEntry,
  close_entry,
  is_due,
  open_entry,
  rows_of,
)
from entrojax.masking import finalize
from entrojax.rollouts.dynamic_sampling import (
  RolloutBatch,
  pad_prompts,
  sample_until_filled,
  with_policy_entropy,
)
from entrojax.rollouts.recorded import RecordedRollouts
from entrojax.rollouts.rewards import (
  decode_responses,
  fill_parts,
  gather_responses,
  group_responses,
  replace_faulty,
  reward_metrics,
  verify_responses,
)
from entrojax.system import hosts
from entrojax.system.sharding import by_row, replicated
from entrojax.types import (
  Array,
  Batch,
  Mean,
  Metrics,
  Params,
  Problem,
  Responses,
  Rollout,
  TrainState,
)
from entrojax.update.optimizer import num_counted
from entrojax.update.soundness import Marks, split_marks
from entrojax.update.train_step import make_batch


class Position(NamedTuple):
  """Where a run stands between two rollout steps."""

  state: TrainState
  ref_params: Params | None  # the reference model's; None: no reference
  key: Array  # the root key; step i uses fold_in(key, i)
  rollout_step: int  # rollout batches so far
  step: int  # optimizer steps so far
  tokens: int  # tokens sampled so far
  # the entry of the ledger that waits for the next rollout, or None
  entry: OpenEntry | None = None


class StepRecord(NamedTuple):
  """The metrics of a rollout step whose update may still be running."""

  position: Position  # after the step
  metrics: Mapping[str, Mean]  # of the update, on the device
  host: dict[str, Any]  # metrics computed on the host
  started: float  # time.perf_counter at the start of the step
  batch: Batch | None  # of the update; None once it has ended without a fault
  marks: Marks | None = None  # what was not finite; None: nothing, or unknown
  # optimizer steps of the curriculum's stage that were taken; 0 before the
  # update has ended
  num_counted: int = 0
  kept: KeptBatch | None = None  # what the update started from, if it is kept
  # copies the batch and a state to the host; None once the update has ended
  # without a fault
  copy: Callable[[TrainState], KeptBatch] | None = None


class StepBatch(NamedTuple):
  """The batch of a rollout step before its advantages."""

  rollout: Rollout  # on the device
  responses: Responses  # of the batch, on the host
  all_responses: Responses  # all that were verified for it, on the host
  metrics: dict[str, Any]
  step_ok: Array | None = None  # f32[B, T], 1 = a token of a step judged right
  entropy_offset: Array | None = None  # f32[B], nats; see Batch


def start_step(run: Run, position: Position) -> tuple[Position, StepRecord]:
  """Sample and verify a batch, and start its update.

  Args:
    run: the run.
    position: before the step; its state is donated.

  Returns:
    The position after the step, and the step's record. If it raises, the
    stream of prompts is as before, so that a resumed run repeats the step.
  """
  stream = run.data.stages.stream(position.rollout_step)
  before = stream.state()
  try:
    return _start_step(run, position)
  except Exception:
    stream.restore(before)
    raise


def _start_step(run: Run, position: Position) -> tuple[Position, StepRecord]:
  """Do the work of `start_step`."""
  started = time.perf_counter()
  stages = run.data.stages
  if stages.restarts(position.rollout_step):
    position = _start_stage(run, position)
  step_key = fold_in(run, position.key, position.rollout_step)
  generate_key, update_key = _split(step_key)
  if run.recorded is None:
    batch = _sample_batch(run, position, generate_key)
  else:
    batch = _replay_batch(run, run.recorded, position)
  names = run.settings.rollout.reward_parts
  batch = batch._replace(
    responses=fill_parts(batch.responses, names, position.rollout_step)
  )
  responses = jax.device_get(
    run.functions.advantage(batch.responses, position.step)
  )
  learned = Responses(
    responses.rewards, advantages=responses.advantages, keep=responses.keep
  )
  learned = hosts.place(learned, by_row(run.mesh))
  update_batch = make_batch(
    batch.rollout, learned, batch.step_ok, batch.entropy_offset
  )
  reference = position.ref_params
  if reference is None and run.settings.log.reference_kl:
    reference = run.base_params
  update = (position.state, reference, update_batch, update_key)
  entry, ledger, seconds = _keep_ledger(run, position, update, batch.responses)
  number = position.rollout_step + 1
  copy = lambda state: copy_batch(
    number,
    state,
    batch.rollout,
    batch.responses,
    batch.step_ok,
    batch.entropy_offset,
    update_key,
  )
  keeps = number in run.settings.log.keep_batches
  kept = copy(position.state) if keeps else None
  state, metrics = run.functions.update(*update)
  host = batch.metrics | reward_metrics(batch.all_responses, responses)
  position = position._replace(
    state=state,
    rollout_step=position.rollout_step + 1,
    step=position.step + run.settings.updates_per_rollout,
    tokens=position.tokens + int(host["rollout/tokens"]),
    entry=entry,
  )
  return position, StepRecord(
    position,
    {**metrics, **ledger},
    host | seconds,
    started,
    update_batch,
    kept=kept,
    copy=copy,
  )


def _keep_ledger(
  run: Run,
  position: Position,
  update: tuple[TrainState, Params | None, Batch, Array],
  responses: Responses,
) -> tuple[OpenEntry | None, Metrics, dict[str, float]]:
  """Close the open entry of the ledger, and open another one if it is due.

  Args:
    run: the run.
    position: before the step; it has the open entry, if there is one.
    update: the arguments of the update, which has not started.
    responses: of the rollout batch, on the host.

  Returns:
    The entry that is open now, the metrics of the closed one, and the time.
  """
  entry, opens = position.entry, is_due(run, position.rollout_step)
  if entry is None and not opens:
    return None, {}, {}
  begun = time.perf_counter()
  state, ref_params, batch, key = update
  rows = rows_of(run, batch, responses)
  metrics = {} if entry is None else close_entry(run, entry, rows)
  opened = None
  if opens:
    opened = open_entry(
      run, position.rollout_step, state, ref_params, rows, key
    )
  return opened, metrics, {"timing_s/ledger": time.perf_counter() - begun}


def _sample_batch(
  run: Run, position: Position, generate_key: Array
) -> StepBatch:
  """Sample a batch from the policy and verify it."""
  stages, settings = run.data.stages, run.settings.rollout
  seconds = {"gen": 0.0, "verify": 0.0}

  def sample(key: Array) -> RolloutBatch:
    """Sample responses; each process verifies those on its own devices."""
    begun = time.perf_counter()
    prompts, problems = next(stages.stream(position.rollout_step))
    rollout = run.functions.generate(position.state.params, prompts, key)
    share = hosts.share(rollout.tokens, len(problems))
    own = hosts.own_rows(rollout, share.held, len(problems))
    generated = time.perf_counter()
    own_problems = [problems[i] for i in share.held]
    responses = gather_responses(
      verify_rollout(run.data, own, own_problems, position.rollout_step), share
    )
    responses = replace_faulty(
      responses, position.rollout_step, ends=settings.faulty_reward_ends
    )
    seconds["gen"] += generated - begun
    seconds["verify"] += time.perf_counter() - generated
    return RolloutBatch(rollout, responses)

  def sample_number(i: int) -> RolloutBatch:
    """Sample batch number i of a step with dynamic sampling."""
    rollout, responses = sample(fold_in(run, generate_key, i))
    pad_id = run.data.tokenizer.pad_id
    rollout = pad_prompts(rollout, settings.prompt_length, pad_id)
    return RolloutBatch(rollout, responses)

  metrics: dict[str, Any] = {}
  dynamic, offset = settings.dynamic_sampling, None
  if dynamic is None:
    batch = sample(generate_key)
    all_responses = batch.responses
  else:
    filled = sample_until_filled(
      sample_number,
      settings.num_prompts,
      max_batches=dynamic.max_batches,
      on_exhausted=dynamic.on_exhausted,
      low=dynamic.low,
      high=dynamic.high,
      parts=settings.reward_parts,
    )
    batch, all_responses, metrics = filled
    if dynamic.steers_by_policy:
      batch, rows = with_policy_entropy(filled)
      offset = hosts.place(rows, by_row(run.mesh))
  metrics |= {f"timing_s/{name}": taken for name, taken in seconds.items()}
  if len(stages.streams) > 1:
    metrics["curriculum/stage"] = stages.number(position.rollout_step) + 1
  return StepBatch(
    batch.rollout,
    batch.responses,
    all_responses,
    metrics,
    entropy_offset=offset,
  )


def _replay_batch(
  run: Run, recorded: RecordedRollouts, position: Position
) -> StepBatch:
  """Take the next batch of recorded rollouts."""
  begun = time.perf_counter()
  prompts, _ = next(run.data.stages.stream(position.rollout_step))
  number = len(recorded.problems)
  groups = np.asarray(prompts.ids) % number
  rollout = recorded.rollout(groups)
  responses = recorded.group_responses(
    rollout,
    groups,
    rollout_step=position.rollout_step,
    cluster=run.data.cluster,
  )
  step_ok = recorded.steps_ok(groups)
  rollout, step_ok = hosts.place((rollout, step_ok), by_row(run.mesh))
  used = (position.rollout_step + 1) * run.settings.rollout.num_prompts
  metrics = {
    "offline/epochs": used / number,
    "timing_s/gen": time.perf_counter() - begun,
    "timing_s/verify": 0.0,
  }
  return StepBatch(rollout, responses, responses, metrics, step_ok)


def _start_stage(run: Run, position: Position) -> Position:
  """Start a curriculum stage: a fresh optimizer, the policy as reference."""
  ref_params = None
  if run.ref_params is not None:  # a copy: updates donate the policy's own
    ref_params = jax.tree.map(jnp.copy, position.state.params)
  return position._replace(
    state=run.functions.restart(position.state), ref_params=ref_params
  )


def verify_rollout(
  data: Data, rollout: Rollout, problems: Sequence[Problem], rollout_step: int
) -> Responses:
  """Verify a rollout and collect what advantage rules may read.

  A reward that is no number is NaN.

  Args:
    data: has the tokenizer, the verifier and the clusters.
    rollout: B = Q * G rows, on the host.
    problems: Q problems, in the order of the rollout's groups.
    rollout_step: rollout batches before this one.
  """
  texts = decode_responses(rollout, data.tokenizer)
  verdicts = verify_responses(
    problems, texts, data.task.verify, faulty=math.nan
  )
  return group_responses(
    rollout, verdicts, rollout_step=rollout_step, cluster=data.cluster
  )


def wait_for_update(record: StepRecord) -> StepRecord:
  """Wait for a step's update; add the step's times and its faults."""
  jax.block_until_ready(record.metrics)
  marks, metrics = split_marks(record.metrics)
  taken = time.perf_counter() - record.started
  parts = ("timing_s/gen", "timing_s/verify", "timing_s/ledger")
  earlier = sum(record.host.get(name, 0.0) for name in parts)
  count = num_counted(record.position.state.opt_state)
  return record._replace(
    metrics=metrics,
    marks=marks,
    num_counted=int(jax.device_get(count)),
    batch=None if marks is None else record.batch,
    copy=None if marks is None else record.copy,
    host={
      **record.host,
      "timing_s/update": taken - earlier,
      "timing_s/step": taken,
      "perf/tokens_per_second": record.host["rollout/tokens"] / taken,
    },
  )


def step_metrics(run: Run, record: StepRecord) -> dict[str, Any]:
  """Collect all metrics of a rollout step, by name."""
  metrics = finalize(record.metrics)
  last_taken = max(record.num_counted - 1, 0)
  # optax computes a schedule with scalars that it places itself
  with jax.transfer_guard("allow"):
    learning_rate = float(run.functions.learning_rate(last_taken))
  return {**metrics, **record.host, "actor/lr": learning_rate}


def fold_in(run: Run, key: Array, number: int) -> Array:
  """Fold a number into a key on the run's mesh."""
  return _fold_in(key, hosts.place(np.uint32(number), replicated(run.mesh)))


_fold_in = jax.jit(jax.random.fold_in)


@jax.jit
def _split(key: Array) -> tuple[Array, Array]:
  first, second = jax.random.split(key)
  return first, second
