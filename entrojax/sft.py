r"""Train a language model on given responses, from a base or from scratch.

    python -m entrojax.sft --config=configs/warm_up_countdown.py \
        --output=runs/base
    python -m entrojax.sft --config=configs/sft.py --output=my_model \
        --config.model.path=their_model --config.sft.files="('a.jsonl',)"

Supervised learning uses the update of reinforcement learning on the data set's
responses, with an advantage of 1 on every token of a response. The loss of
REINFORCE is then the cross-entropy, averaged over the response tokens of the
whole batch. A row may hold several examples, see data/packing.py.

`output` becomes a model folder when the training is complete. Runs and
evaluations can start from it. Its folder `training` is a run directory with
config.json, metrics.jsonl, tensorboard and checkpoints. An interrupted command
resumes from the newest checkpoint when it is started again, bit for bit as if
it had not stopped. If an error ends the run between two updates, the steps
before it are saved first.
"""

from collections.abc import Callable
import contextlib
import functools
from pathlib import Path
import time
from typing import Any, NamedTuple

from absl import flags
import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict as Config
from ml_collections import config_flags
import numpy as np
import optax

from entrojax import control, objectives
from entrojax.assembly.check_rows import check_sft_rows
from entrojax.assembly.check_sft import check_sft
from entrojax.assembly.check_values import check_kind
from entrojax.assembly.graphs import first_state
from entrojax.assembly.methods import make_scheduled_optimizer
from entrojax.assembly.model import jit, load_policy, model_folder
from entrojax.assembly.scheduling import check_learning_rate
from entrojax.assembly.sft_inputs import read_stream, with_model_path
from entrojax.data import tokenizer
from entrojax.data.packing import PackedStream
from entrojax.export import export
from entrojax.loop.faults import describe_fault
from entrojax.masking import finalize
from entrojax.objectives import aggregation
from entrojax.reporting.progress import Progress
from entrojax.reporting.writer import Writer, open_writer
from entrojax.system import compilation_cache, hosts
from entrojax.system.checkpoint import Checkpoints, release
from entrojax.system.checkpoint_record import Best
from entrojax.system.command_line import EXIT_INTERRUPTED, command
from entrojax.system.interrupt import Interruption
from entrojax.system.process_flags import define_process_flags, join_processes
from entrojax.system.provenance import default_settings, write_provenance
from entrojax.system.saves import Saves, save_after
from entrojax.system.sharding import (
  by_row,
  make_mesh,
  num_row_shards,
  replicated,
)
from entrojax.system.workdir import (
  begin_or_resume,
  check_processes,
  hold_workdir,
)
from entrojax.types import Array, Batch, Metrics, TrainState
from entrojax.update.optimizer import num_counted
from entrojax.update.setup import BatchSplit
from entrojax.update.soundness import SOUNDNESS, split_marks
from entrojax.update.train_step import Update, make_update

TRAINING_FOLDER = "training"
_START_FOLDER = "start"  # a new model before its first step
# Of the update's metrics only these make sense here: the others compare the
# policy with the one that sampled the responses.
_METRICS = (
  *("actor/loss", "actor/entropy", "actor/entropy_histogram"),
  *("actor/grad_norm", "actor/update_norm"),
)
# what a line of progress shows: name -> metric
_SHOWN = {
  "cross-entropy": "actor/loss",
  "entropy": "actor/entropy",
  "tokens/s": "perf/tokens_per_second",
}

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "the settings of the run, a file such as configs/sft.py",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output",
  "",
  "the model folder to write; created if missing",
  flag_values=FLAGS,
)
define_process_flags(FLAGS)


class Parts(NamedTuple):
  """Everything that the training loop needs."""

  mesh: Mesh
  stream: PackedStream
  # before the first update, which donates it; a run that resumes frees it
  state: TrainState
  update: Update  # (state, batch) -> (state, metrics), donates its state
  learning_rate: optax.Schedule


class Position(NamedTuple):
  """Where a run stands between two steps."""

  state: TrainState
  step: int  # optimizer steps done
  tokens: int  # tokens read, without padding


def sft(config: Config, output: Path) -> Path | None:
  """Train, and write the model folder.

  Args:
    config: the settings of the run, see configs/sft.py.
    output: the model folder to write. If it holds an unfinished run, that run
      is resumed.

  Returns:
    The checkpoint if the run was interrupted; None if it is complete.

  Raises:
    ValueError: a setting, a file or the folder cannot be used.
  """
  check_processes(config=config.to_dict(), output=str(output))
  workdir = output / TRAINING_FOLDER
  report = functools.partial(print, flush=True)
  note = report if hosts.is_first() else lambda line: None
  with contextlib.ExitStack() as stack:
    with hosts.together():
      check_sft(config)
      if hosts.is_first():
        _check_output(output)
        stack.enter_context(hold_workdir(workdir))
    checkpoints = Checkpoints(
      workdir / "checkpoints", keep=config.checkpoint.keep
    )
    stack.enter_context(contextlib.closing(checkpoints))
    fresh = checkpoints.latest() is None
    defaults = default_settings("configs.sft")
    with hosts.together():
      config = with_model_path(
        config, workdir / _START_FOLDER, write=fresh and hosts.is_first()
      )
      if hosts.is_first():
        begin_or_resume(
          workdir,
          config.to_dict(),
          fresh=fresh,
          resume=True,
          recorded=checkpoints.settings(),
          defaults=defaults,
        )
    parts = build_sft(config)
    with hosts.together():
      if hosts.is_first():
        write_provenance(
          workdir,
          config.to_dict(),
          defaults,
          parts.mesh.devices,
          fresh=fresh,
        )
    interruption = stack.enter_context(Interruption())
    position = (
      Position(parts.state, step=0, tokens=0)
      if fresh
      else _restore(config, parts, checkpoints, note)
    )
    if position.step < config.num_steps:
      checkpoints.probe(position.state, _key(config, parts), read_back=fresh)
    writer = Writer(())
    with hosts.together():
      if hosts.is_first():
        writer = stack.enter_context(
          open_writer(
            workdir,
            resumed_rollout_step=-1 if fresh else position.step,
            wandb_project=config.log.wandb_project or None,
            config=config.to_dict(),
          )
        )
    saves = Saves(
      checkpoints,
      every=config.checkpoint.every,
      minutes=config.checkpoint.minutes,
      keep_best=None,
      report=note,
    )
    with hosts.telling():
      path = _loop(
        config, parts, position, writer, checkpoints, saves, interruption, note
      )
  with hosts.together():  # the other processes wait for the export
    if path is None and hosts.is_first():
      export(workdir, output, dtype=config.sft.dtype)
  return path


def _check_output(output: Path) -> None:
  """Raise ValueError if the folder holds anything but a supervised run."""
  strange = output.exists() and not (output / TRAINING_FOLDER).is_dir()
  if strange and (not output.is_dir() or any(output.iterdir())):
    raise ValueError(f"{output} holds something: choose another output folder")


def build_sft(config: Config) -> Parts:
  """Build a run from a config that sets model.path.

  Raises:
    ValueError: a setting cannot work, or a file is missing or malformed; the
      message names the key or the file.
  """
  compilation_cache.enable()
  with hosts.together():
    mesh = make_mesh(config.mesh)
    check_sft_rows(config, num_row_shards(mesh))
    optimizer, schedule = make_scheduled_optimizer(
      config.optimizer, control.no_control()
    )
    check_learning_rate(schedule, config.num_steps)
    folder = model_folder(config.model.path)
    words = tokenizer.load(folder)
    stream = read_stream(config, folder, words)
    _, policy, params = load_policy(config, folder, words, mesh)
  state, shardings = first_state(mesh, params, optimizer)

  def make_sft_update(model):
    update = make_update(
      model,
      {"reinforce": objectives.reinforce()},
      aggregation.token_mean,
      optimizer,
      split=BatchSplit(**config.training),
      mesh=mesh,
    )

    def run(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
      # No random number is used: there is one mini-batch and no dropout.
      key = jax.random.key(0)
      state, metrics = update(state, None, batch, key)
      return state, {name: metrics[name] for name in (*_METRICS, *SOUNDNESS)}

    return run

  update = jit(
    make_sft_update,
    policy,
    donate_first=True,
    out_shardings=(shardings, replicated(mesh)),
  )
  return Parts(mesh, stream, state, update, schedule)


def _restore(
  config: Config,
  parts: Parts,
  checkpoints: Checkpoints,
  report: Callable[[str], None],
) -> Position:
  """Load the newest intact checkpoint and move the examples' stream to it."""
  # the parts live on, and the devices are to hold one state
  state = release(parts.state)
  restored = checkpoints.restore(state, _key(config, parts), report=report)
  parts.stream.restore(restored.host["data"])
  return Position(
    restored.state, restored.host["step"], restored.host["tokens"]
  )


def _key(config: Config, parts: Parts) -> Array:
  """Return the root key in the form that a checkpoint holds."""
  return hosts.place(jax.random.key(config.seed), replicated(parts.mesh))


def _loop(
  config: Config,
  parts: Parts,
  position: Position,
  writer: Writer,
  checkpoints: Checkpoints,
  saves: Saves,
  interruption: Interruption,
  report: Callable[[str], None],
) -> Path | None:
  """Train until the last step or an interruption.

  Args:
    config: the settings of the run.
    parts: the run.
    position: where it starts or resumes.
    writer: gets the metrics of each step.
    checkpoints: where the run is saved.
    saves: when it is saved.
    interruption: ends the loop after the current step.
    report: takes a line for the user.

  Returns:
    The checkpoint if the run was interrupted; None if it is complete.

  Raises:
    SharedError: one step after another was skipped; the run is saved.
  """

  def write_here(best: Best | None) -> Path:
    at = position
    return checkpoints.save(
      at.step,
      at.state,
      _key(config, parts),
      {"data": parts.stream.state(), "step": at.step, "tokens": at.tokens},
      settings=config.to_dict(),
      best=best,
    )

  start, faults = position.step, _Faults(config.faults.max_in_a_row)
  try:
    with Progress(
      config.num_steps,
      first_rollout_step=start,
      every=config.log.every,
      unit="step",
      scalars=_SHOWN,
      quiet=not hosts.is_first(),
    ) as progress:
      while position.step < config.num_steps and not (
        hosts.any_of(interruption.ends) or faults.too_many
      ):
        position, numbers, unsound = _step(parts, position)
        faults.count(unsound)
        if unsound:
          progress.note(f"step {position.step} skipped: {unsound}")
        _write(writer, numbers, position, progress)
        if saves.due(position.step):
          saves.save(write_here)
  except Exception as error:
    if position.step > start:
      finish = functools.partial(saves.finish, write_here)
      save_after(error, position.state, finish, report)
    raise
  path = saves.finish(write_here)
  if faults.too_many:
    raise hosts.SharedError(
      f"the run ends after step {position.step}: {faults.in_a_row} steps in a "
      "row were skipped (faults.max_in_a_row), the last because "
      f"{faults.last}. It is saved; run the same command again to resume with "
      "the next batch"
    )
  return path if position.step < config.num_steps else None


class _Faults:
  """Counts steps that were skipped one after another.

  Attributes:
    in_a_row: how many of the last steps were skipped.
    last: why the last of them was skipped.
  """

  def __init__(self, most: int):
    """Begin with none; `most` of them in a row end the run."""
    self._most = most
    self.in_a_row, self.last = 0, ""

  def count(self, unsound: str) -> None:
    """Count a step, with the reason why it was skipped; "": it was not."""
    self.in_a_row = self.in_a_row + 1 if unsound else 0
    self.last = unsound

  @property
  def too_many(self) -> bool:
    """Whether the run is to end."""
    return self.in_a_row >= self._most


def _write(
  writer: Writer, numbers: dict[str, Any], at: Position, progress: Progress
) -> None:
  """Write and show the metrics of a step; a full disk is only a warning."""
  try:
    writer.write(numbers, step=at.step, rollout_step=at.step, tokens=at.tokens)
  except OSError as error:
    progress.note(
      f"warning: the metrics of step {at.step} could not be written ({error}). "
      "The run continues and tries again"
    )
  progress.update(at.step, numbers)


def _step(
  parts: Parts, position: Position
) -> tuple[Position, dict[str, Any], str]:
  """Take one optimizer step.

  Returns:
    The next position, the metrics, and why the step was skipped; "": it was
    not. If it raises, the stream of examples is as before, so that a resumed
    run repeats the step.
  """
  before = parts.stream.state()
  try:
    return _take_step(parts, position)
  except Exception:
    parts.stream.restore(before)
    raise


def _take_step(
  parts: Parts, position: Position
) -> tuple[Position, dict[str, Any], str]:
  """Do the work of `_step`."""
  started = time.perf_counter()
  batch = next(parts.stream)
  num_tokens = int(np.sum(batch.positions >= 0))
  state, metrics = parts.update(
    position.state, hosts.place(batch, by_row(parts.mesh))
  )
  marks, metrics = split_marks(metrics)
  numbers: dict[str, Any] = finalize(metrics)
  unsound = ""
  if marks is not None:
    unsound = describe_fault(numbers, marks, batch, state.params)
  last_taken = max(int(num_counted(state.opt_state)) - 1, 0)
  numbers |= {
    "actor/lr": float(parts.learning_rate(last_taken)),
    "sft/padding": 1 - num_tokens / batch.positions.size,
    "perf/tokens_per_second": num_tokens / (time.perf_counter() - started),
  }
  return (
    Position(state, position.step + 1, position.tokens + num_tokens),
    numbers,
    unsound,
  )


@command(
  FLAGS,
  required=("config", "output"),
  settings="configs/sft.py",
  interrupted=(
    "Interrupted, without saving. Run the same command again to resume from "
    "the last checkpoint."
  ),
)
def main() -> int:
  """Train; return the exit status."""
  output = Path(_OUTPUT.value)
  join_processes(FLAGS)
  check_kind(_CONFIG.value, sft=True)
  saved = sft(_CONFIG.value, output)
  if saved is not None:
    print(f"Interrupted. Saved {saved}. Run the same command again to resume.")
    return EXIT_INTERRUPTED
  if hosts.is_first():
    print(f"done: {output} is a model folder, for --config.model.path")
  return 0


if __name__ == "__main__":
  main()
