"""A rollout step: prompts, rollout, text, verdicts, advantages, update.

Responses are sampled from the policy, or taken from a file. The update still
runs when a step returns; `finished` waits for it.
"""

from collections.abc import Mapping, Sequence
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict as Config
import numpy as np

from entrojax.assembly.data import Data
from entrojax.assembly.run import Run
from entrojax.metrics import finalize
from entrojax.rollouts.dynamic_sampling import Sampled, left_padded, refill
from entrojax.rollouts.recorded import Recorded
from entrojax.rollouts.rewards import (
  decode_responses,
  gather_responses,
  group_responses,
  judge,
  reward_metrics,
)
from entrojax.system import hosts
from entrojax.system.sharding import by_row
from entrojax.types import (
  Array,
  Mean,
  Params,
  Problem,
  Responses,
  Rollout,
  TrainState,
)
from entrojax.update.train_step import make_batch


class Standing(NamedTuple):
  """Where a run stands between two rollout steps."""

  state: TrainState
  ref_params: Params | None  # of the reference model
  key: Array  # the root key; step i uses fold_in(key, i)
  rollout_step: int  # rollout batches done
  step: int  # optimizer steps done
  tokens: int  # tokens sampled


class StepRecord(NamedTuple):
  """The numbers of a rollout step, its update still running."""

  standing: Standing
  optimizer_step: int  # as the learning rate counts them
  metrics: Mapping[str, Mean]  # on the device
  host: dict[str, Any]
  started: float  # time.perf_counter at its start


class Drawn(NamedTuple):
  """The batch of a rollout step, before its advantages."""

  rollout: Rollout  # on the device
  responses: Responses  # of the batch, on the host
  everything: Responses  # all that were judged for it
  numbers: dict[str, Any]
  step_ok: Array | None = None  # f32[B, T], as of a Batch


def start_step(
  config: Config, run: Run, standing: Standing
) -> tuple[Standing, StepRecord]:
  """Samples, judges and starts the update."""
  started = time.perf_counter()
  stages = run.data.stages
  if stages.restarts(standing.rollout_step):
    standing = _restarted(run, standing)
  generate_key, update_key = jax.random.split(
    jax.random.fold_in(standing.key, standing.rollout_step)
  )
  if run.recorded is None:
    drawn = _sampled(config, run, standing, generate_key)
  else:
    drawn = _replayed(config, run, run.recorded, standing)
  responses = jax.device_get(run.functions.advantage(drawn.responses))
  learned = Responses(
    responses.rewards, advantages=responses.advantages, keep=responses.keep
  )
  learned = hosts.place(learned, by_row(run.mesh))
  state, metrics = run.functions.update(
    standing.state,
    standing.ref_params,
    make_batch(drawn.rollout, learned, drawn.step_ok),
    update_key,
  )
  numbers = drawn.numbers | reward_metrics(drawn.everything, responses)
  of_stage = standing.rollout_step - stages.first_step(standing.rollout_step)
  updates = config.training.updates_per_rollout
  standing = standing._replace(
    state=state,
    rollout_step=standing.rollout_step + 1,
    step=standing.step + updates,
    tokens=standing.tokens + int(numbers["rollout/tokens"]),
  )
  last = (of_stage + 1) * updates - 1
  return standing, StepRecord(standing, last, metrics, numbers, started)


def _sampled(
  config: Config, run: Run, standing: Standing, generate_key: Array
) -> Drawn:
  """Samples a batch from the policy and judges it."""
  stages = run.data.stages
  seconds = {"gen": 0.0, "verify": 0.0}

  def sample(key: Array) -> Sampled:
    """Takes the next prompts; each process judges what is on its devices."""
    begun = time.perf_counter()
    prompts, problems = next(stages.stream(standing.rollout_step))
    rollout = run.functions.generate(standing.state.params, prompts, key)
    share = hosts.share(rollout.tokens, len(problems))
    own = hosts.own_rows(rollout, share.held, len(problems))
    generated = time.perf_counter()
    responses = judge_rollout(
      run.data, own, [problems[i] for i in share.held], standing.rollout_step
    )
    responses = gather_responses(responses, share)
    seconds["gen"] += generated - begun
    seconds["verify"] += time.perf_counter() - generated
    return Sampled(rollout, responses)

  numbers: dict[str, Any] = {}
  settings = dict(config.dynamic_sampling)
  if settings.pop("enabled"):

    def one_of_many(i: int) -> Sampled:
      rollout, responses = sample(jax.random.fold_in(generate_key, i))
      length, pad_id = config.rollout.prompt_length, run.data.tokenizer.pad_id
      return Sampled(left_padded(rollout, length, pad_id), responses)

    batch, everything, numbers = refill(
      one_of_many,
      config.rollout.num_prompts,
      **settings,
    )
  else:
    batch = sample(generate_key)
    everything = batch.responses
  numbers |= {f"timing_s/{name}": taken for name, taken in seconds.items()}
  if len(stages.streams) > 1:
    numbers["curriculum/stage"] = stages.number(standing.rollout_step) + 1
  return Drawn(batch.rollout, batch.responses, everything, numbers)


def _replayed(
  config: Config, run: Run, recorded: Recorded, standing: Standing
) -> Drawn:
  """Takes the next batch of recorded rollouts."""
  begun = time.perf_counter()
  prompts, _ = next(run.data.stages.stream(standing.rollout_step))
  number = len(recorded.problems)
  groups = np.asarray(prompts.ids) % number
  rollout = recorded.rollout(groups)
  responses = recorded.judged(
    rollout,
    groups,
    rollout_step=standing.rollout_step,
    cluster=run.data.cluster,
  )
  step_ok = recorded.steps_ok(groups)
  on_device = hosts.place((rollout, step_ok), by_row(run.mesh))
  taken = (standing.rollout_step + 1) * config.rollout.num_prompts
  numbers = {
    "offline/epochs": taken / number,
    "timing_s/gen": time.perf_counter() - begun,
    "timing_s/verify": 0.0,
  }
  return Drawn(on_device[0], responses, responses, numbers, on_device[1])


def _restarted(run: Run, standing: Standing) -> Standing:
  """Begins a stage: its reference is the policy, its optimizer is fresh."""
  ref_params = None
  if run.ref_params is not None:  # a copy: updates take the policy's own
    ref_params = jax.tree.map(jnp.copy, standing.state.params)
  return standing._replace(
    state=run.functions.restart(standing.state), ref_params=ref_params
  )


def judge_rollout(
  data: Data, rollout: Rollout, problems: Sequence[Problem], rollout_step: int
) -> Responses:
  """Returns what the verifier and the advantage rules see of a rollout.

  Args:
    data: of the run.
    rollout: on the host.
    problems: Q, whose groups are neighbours in the rollout.
    rollout_step: rollout batches before this one.
  """
  texts = decode_responses(rollout, data.tokenizer)
  verdicts = judge(problems, texts, data.task.verify)
  return group_responses(
    rollout, verdicts, rollout_step=rollout_step, cluster=data.cluster
  )


def finished(record: StepRecord) -> StepRecord:
  """Waits for the update and adds its time."""
  jax.block_until_ready(record.metrics)
  taken = time.perf_counter() - record.started
  earlier = record.host["timing_s/gen"] + record.host["timing_s/verify"]
  return record._replace(
    host={
      **record.host,
      "timing_s/update": taken - earlier,
      "timing_s/step": taken,
      "perf/tokens_per_second": record.host["rollout/tokens"] / taken,
    }
  )


def numbers_of(run: Run, record: StepRecord) -> dict[str, Any]:
  """Returns everything that is written of a rollout step."""
  learning_rate = run.functions.learning_rate(record.optimizer_step)
  numbers = finalize(record.metrics)
  if not np.isfinite(numbers["actor/grad_norm"]):
    raise ValueError(
      f"rollout step {record.standing.rollout_step}: actor/grad_norm is "
      f"{numbers['actor/grad_norm']}; the run ends here, unsaved"
    )
  return {
    **numbers,
    **record.host,
    "actor/lr": float(learning_rate),
  }
