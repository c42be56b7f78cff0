"""The train loop: rollouts, verdicts, updates, and what is kept of them.

One rollout step is: prompts -> generate -> text -> verdicts -> advantages ->
update. The numbers of a step are written while the next update runs.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
from pathlib import Path
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict as Config
import numpy as np

from entrojax import hosts
from entrojax.build import Run, build
from entrojax.check import check
from entrojax.checkpoint import Checkpoints
from entrojax.collect import report
from entrojax.dynamic_sampling import Sampled, left_padded, refill
from entrojax.effects import Effects
from entrojax.evaluate import (
  EVALUATION_KEY,
  decode_responses,
  evaluate_policy,
  summarize,
)
from entrojax.inputs import Data
from entrojax.interrupt import Interruption
from entrojax.live_law import LiveLaw
from entrojax.metrics import finalize, open_writer
from entrojax.progress import Progress
from entrojax.recorded import Recorded
from entrojax.rewards import (
  gather_responses,
  group_responses,
  judge,
  reward_metrics,
)
from entrojax.sharding import by_row, replicated
from entrojax.train_step import make_batch
from entrojax.types import (
  Array,
  Mean,
  Params,
  Problem,
  Responses,
  Rollout,
  TrainState,
)
from entrojax.workdir import (
  ROLLOUTS_FILE,
  append_samples,
  check_processes,
  hold_workdir,
  trim_samples,
  write_config,
)

_MISMATCH = "rollout/log_prob_diff_max"


class Standing(NamedTuple):
  """Where a run stands between two rollout steps."""

  state: TrainState
  ref_params: Params | None  # of the reference model
  key: Array  # the root key; step i uses fold_in(key, i)
  rollout_step: int  # rollout batches done
  step: int  # optimizer steps done
  tokens: int  # tokens sampled


# writes metrics by name
Write = Callable[[Mapping[str, Any], Standing], None]


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


def train(config: Config, workdir: Path, *, resume: bool = True) -> Path | None:
  """Runs a config in a work directory.

  Args:
    config: the run's settings.
    workdir: the run directory, made if absent.
    resume: go on from the directory's newest checkpoint if it has one; if
      false, a directory that holds a run is refused.

  Returns:
    The checkpoint, if the run was interrupted; None if it is complete.

  Raises:
    ValueError: a setting, a file or the directory cannot be used.
  """
  with contextlib.ExitStack() as stack:
    check_processes(config=config.to_dict(), workdir=str(workdir))
    with hosts.together():
      if hosts.is_first():
        stack.enter_context(hold_workdir(workdir))
      rollouts = _rollouts(config, workdir)
    run = build(config, rollouts)
    interruption = stack.enter_context(Interruption())
    checkpoints = Checkpoints(
      workdir / "checkpoints", keep=config.checkpoint.keep
    )
    stack.enter_context(contextlib.closing(checkpoints))
    fresh = checkpoints.latest() is None
    with hosts.together():
      if hosts.is_first():
        write_config(workdir, config.to_dict(), saved=not fresh, resume=resume)
    standing = _standing(config, run, checkpoints)
    write: Write = lambda metrics, at: None
    with hosts.together():
      if hosts.is_first():
        write = _writer(config, workdir, run, standing, stack, fresh=fresh)

    def save(at: Standing) -> Path:
      stream = run.data.stages.stream(at.rollout_step)
      return checkpoints.save(
        at.rollout_step,
        at.state,
        at.key,
        {"data": stream.state(), "step": at.step, "tokens": at.tokens},
        at.ref_params if _has_own_reference(run, at.rollout_step) else None,
      )

    def evaluate(at: Standing) -> None:
      numbers, samples = _evaluate(config, run, at)
      if hosts.is_first():
        append_samples(workdir, samples)
      write(numbers, at)

    if fresh:
      evaluate(standing)
    return _loop(config, run, standing, write, evaluate, save, interruption)


def _writer(
  config: Config,
  workdir: Path,
  run: Run,
  standing: Standing,
  stack: contextlib.ExitStack,
  *,
  fresh: bool,
) -> Write:
  """Opens what a run reports to, and returns what writes there.

  Args:
    config: of the run.
    workdir: its directory.
    run: the run.
    standing: where it begins or goes on.
    stack: closes what is opened.
    fresh: whether it begins.
  """
  writer = stack.enter_context(
    open_writer(
      workdir,
      resumed_rollout_step=-1 if fresh else standing.rollout_step,
      wandb_project=config.log.wandb_project or None,
      config=config.to_dict(),
    )
  )
  progress = stack.enter_context(
    Progress(
      config.num_rollout_steps,
      first_rollout_step=standing.rollout_step,
      every=config.log.every,
    )
  )
  effects = Effects((*config.advantage, *config.objective, "projection"))
  trim_samples(workdir, None if fresh else standing.rollout_step)
  if run.recorded is not None:
    progress.note(run.recorded.summary())
  law = LiveLaw(workdir)

  def write(metrics: Mapping[str, Any], at: Standing) -> None:
    if "actor/loss" in metrics:  # of a rollout step, not of an evaluation
      metrics = {**metrics, **law.metrics(metrics)}
    writer.write(
      metrics, step=at.step, rollout_step=at.rollout_step, tokens=at.tokens
    )
    progress.update(at.rollout_step, metrics)
    if at.rollout_step == standing.rollout_step + 1 and _MISMATCH in metrics:
      progress.note(
        "sampler and trainer differ by at most "
        f"{metrics[_MISMATCH]:.1e} nats a token"
      )
    # of a rollout step that had tokens, not of an evaluation
    if np.isfinite(metrics.get("actor/entropy", np.nan)):
      for note in effects.notes(metrics):
        progress.note(note)

  return write


def _rollouts(config: Config, workdir: Path) -> Path | None:
  """Returns the file that an offline run trains on, made if it is to be."""
  if not config.offline.enabled:
    return None
  if config.offline.rollouts:
    return Path(config.offline.rollouts)
  if jax.process_count() > 1:
    raise ValueError(
      "offline.rollouts is not set: several processes do not make them, "
      "entrojax.collect does, in one"
    )
  check(config)  # all of it, before anything is sampled
  path = workdir / ROLLOUTS_FILE
  report(config, path)
  return path


def _standing(config: Config, run: Run, checkpoints: Checkpoints) -> Standing:
  """Returns the start, or where the newest checkpoint stands."""
  key = hosts.place(jax.random.key(config.seed), replicated(run.mesh))
  ref_params = run.ref_params
  rollout_step = checkpoints.latest()
  if rollout_step is None:
    return Standing(run.state, ref_params, key, 0, step=0, tokens=0)
  own = _has_own_reference(run, rollout_step)
  state, key, host, saved = checkpoints.restore(
    run.state, key, ref_params if own else None
  )
  run.data.stages.stream(rollout_step).restore(host["data"])
  return Standing(
    state,
    saved if own else ref_params,
    key,
    rollout_step,
    host["step"],
    host["tokens"],
  )


def _has_own_reference(run: Run, rollout_step: int) -> bool:
  """Returns whether a run that stands there has a reference but the base."""
  later = run.data.stages.number(max(rollout_step - 1, 0)) > 0
  return later and run.ref_params is not None


def _loop(
  config: Config,
  run: Run,
  standing: Standing,
  write: Write,
  evaluate: Callable[[Standing], None],
  save: Callable[[Standing], Path],
  interruption: Interruption,
) -> Path | None:
  """Runs until the last step or an interruption; see `train`."""
  last = config.num_rollout_steps
  pending: StepRecord | None = None

  def due(every: int) -> bool:
    return bool(every) and standing.rollout_step % every == 0

  def stopped() -> bool:
    return hosts.any_of(interruption.received is not None)

  while standing.rollout_step < last and not stopped():
    standing, record = _rollout_step(config, run, standing)
    if pending is not None:  # while the update runs
      write(_numbers(run, pending), pending.standing)
    pending = _finished(record)
    ends = standing.rollout_step == last
    evaluates = ends or due(config.evaluation.every)
    saves = due(config.checkpoint.every)
    if evaluates or saves or stopped():
      # a checkpoint must not be ahead of the lines that it continues
      write(_numbers(run, pending), pending.standing)
      pending = None
    if evaluates:
      evaluate(standing)
    if saves:
      save(standing)
  if pending is not None:
    write(_numbers(run, pending), pending.standing)
  path = save(standing)
  return path if standing.rollout_step < last else None


def _rollout_step(
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


def _finished(record: StepRecord) -> StepRecord:
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


def _numbers(run: Run, record: StepRecord) -> dict[str, Any]:
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


def _evaluate(
  config: Config, run: Run, standing: Standing
) -> tuple[dict[str, float], list[dict[str, Any]]]:
  """Evaluates the policy; returns its numbers and some of its samples."""
  settings = config.evaluation
  evaluation = evaluate_policy(
    run.functions.evaluate,
    standing.state.params,
    run.data.held_out,
    run.data.task.verify,
    run.data.tokenizer,
    jax.random.fold_in(standing.key, EVALUATION_KEY),
    prompt_length=config.rollout.prompt_length,
    prompt_buckets=config.rollout.prompt_buckets,
    prompts_per_batch=settings.prompts_per_batch,
  )
  samples = []
  for row in range(min(config.log.samples, len(run.data.held_out))):
    verdict = evaluation.verdicts[row][0]
    samples.append(
      {
        "rollout_step": standing.rollout_step,
        "prompt": run.data.held_out[row].prompt,
        "response": evaluation.texts[row][0],
        "reward": verdict.reward,
        "reason": verdict.reason,
      }
    )
  return summarize(evaluation, run.data.task.name), samples
