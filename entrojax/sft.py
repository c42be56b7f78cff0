r"""The command that trains a model on given responses, or makes a base anew.

    python -m entrojax.sft --config=configs/warm_up_countdown.py \
        --output=runs/base
    python -m entrojax.sft --config=configs/sft.py --output=my_model \
        --config.model.path=their_model --config.sft.files="('a.jsonl',)"

Supervised learning is the update of reinforcement learning with the data set's
responses and an advantage of 1 on every token: REINFORCE's loss is then the
cross-entropy, a mean over the response tokens of the whole batch. Rows hold
several examples each, see packing.py.

`output` becomes a model folder that runs and evaluations begin with. Its folder
`training` is a run directory: config.json, metrics.jsonl, tensorboard and
checkpoints, from which the same command goes on, bit for bit.
"""

from collections.abc import Iterator
import contextlib
import copy
from pathlib import Path
import time
from typing import Any, NamedTuple

from absl import app, flags, logging
import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict as Config
from ml_collections import config_flags
import numpy as np
import optax

from entrojax import control, objectives
from entrojax.assembly.check_rows import check_sft_rows
from entrojax.assembly.check_settings import check_kind, check_sft
from entrojax.assembly.data import Spec, make_template, parse_spec
from entrojax.assembly.methods import make_scheduled_optimizer
from entrojax.assembly.model import jit, load_policy, model_folder
from entrojax.assembly.run import first_state
from entrojax.data import tokenizer
from entrojax.data.packing import PackedStream
from entrojax.data.sft_examples import (
  Encoded,
  Pair,
  encode,
  pairs_of_file,
  pairs_of_task,
)
from entrojax.data.tokenizer import Tokenizer
from entrojax.export import export
from entrojax.metrics import finalize
from entrojax.models import DecoderConfig, decoder, hugging_face
from entrojax.objectives import aggregation
from entrojax.reporting.progress import Progress
from entrojax.reporting.writer import Writer, open_writer
from entrojax.system import hosts
from entrojax.system.checkpoint import Checkpoints
from entrojax.system.command_line import (
  EXIT_INTERRUPTED,
  command,
  define_process_flags,
  join_processes,
  parse_flags,
)
from entrojax.system.interrupt import Interruption
from entrojax.system.sharding import (
  by_row,
  make_mesh,
  num_row_shards,
  replicated,
)
from entrojax.system.workdir import check_processes, hold_workdir, write_config
from entrojax.tasks import make_task
from entrojax.types import Array, Batch, Metrics, TrainState
from entrojax.update.train_step import BatchSplit, Update, make_update

TRAINING_FOLDER = "training"
_START_FOLDER = "start"  # a new model before its first step
# of the update's metrics; the others compare with a policy that sampled
_METRICS = (
  *("actor/loss", "actor/entropy", "actor/entropy_histogram"),
  *("actor/grad_norm", "actor/update_norm"),
)
_SHOWN = {
  "cross-entropy": "actor/loss",
  "entropy": "actor/entropy",
  "tokens/s": "perf/tokens_per_second",
}


class Parts(NamedTuple):
  """Everything that the loop needs."""

  mesh: Mesh
  stream: PackedStream
  state: TrainState
  update: Update  # (state, batch) -> (state, metrics), donates its state
  learning_rate: optax.Schedule


class Standing(NamedTuple):
  """Where a run stands between two steps."""

  state: TrainState
  step: int  # optimizer steps done
  tokens: int  # tokens read, padding aside


def sft(config: Config, output: Path) -> Path | None:
  """Trains, and writes the model folder.

  Args:
    config: the run's settings, see configs/sft.py.
    output: the folder to write, or to go on with.

  Returns:
    The checkpoint, if the run was interrupted; None if it is complete.

  Raises:
    ValueError: a setting, a file or the folder cannot be used.
  """
  check_processes(config=config.to_dict(), output=str(output))
  workdir = output / TRAINING_FOLDER
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
    with hosts.together():
      config = _with_start(
        config, workdir / _START_FOLDER, write=fresh and hosts.is_first()
      )
      if hosts.is_first():
        write_config(workdir, config.to_dict(), saved=not fresh, resume=True)
    parts = build_sft(config)
    interruption = stack.enter_context(Interruption())
    standing = (
      Standing(parts.state, 0, 0)
      if fresh
      else _resumed(config, parts, checkpoints)
    )
    writer = Writer(())
    with hosts.together():
      if hosts.is_first():
        writer = stack.enter_context(
          open_writer(
            workdir,
            resumed_rollout_step=-1 if fresh else standing.step,
            wandb_project=config.log.wandb_project or None,
            config=config.to_dict(),
          )
        )
    path = _loop(config, parts, standing, writer, checkpoints, interruption)
  with hosts.together():  # the others wait for it
    if path is None and hosts.is_first():
      export(workdir, output, dtype=config.sft.dtype)
  return path


def _check_output(output: Path) -> None:
  """Raises ValueError if the folder holds anything but a run of ours."""
  strange = output.exists() and not (output / TRAINING_FOLDER).is_dir()
  if strange and (not output.is_dir() or any(output.iterdir())):
    raise ValueError(f"{output} holds something: choose another output folder")


def _with_start(config: Config, folder: Path, *, write: bool) -> Config:
  """Returns the config with the folder of a new model, if it asks for one.

  Args:
    config: the run's.
    folder: of the new model, as it is before the first step.
    write: whether it is to be written.
  """
  if config.model.path:
    return config
  config = copy.deepcopy(config)
  settings = dict(config.new_model)
  characters = settings.pop("characters")
  words = tokenizer.character_tokenizer(characters)
  sizes = DecoderConfig(vocab_size=words.get_vocab_size(), **settings)
  config.model.path = str(folder)
  if write:
    folder.mkdir(parents=True, exist_ok=True)
    words.save(str(folder / "tokenizer.json"))
    params = jax.jit(decoder(sizes).init)(jax.random.key(config.seed))
    ids = {
      f"{name}_token_id": words.token_to_id(token)
      for name, token in (("eos", tokenizer.EOS), ("pad", tokenizer.PAD))
    }
    hugging_face.write_folder(folder, sizes, params, ids)
  return config


def build_sft(config: Config) -> Parts:
  """Builds a run whose model.path is set.

  Raises:
    ValueError: a setting cannot work, a file is missing or malformed; the
      message names the key or the file.
  """
  with hosts.together():
    mesh = make_mesh(config.mesh)
    check_sft_rows(config, num_row_shards(mesh))
    optimizer, schedule = make_scheduled_optimizer(
      config.optimizer, control.no_control()
    )
    words = tokenizer.load(model_folder(config.model.path))
    stream = _read_stream(config, words)
    _, policy, params = load_policy(config, words, mesh)
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
      key = jax.random.key(0)  # nothing draws: one mini-batch, no dropout
      state, metrics = update(state, None, batch, key)
      return state, {name: metrics[name] for name in _METRICS}

    return run

  update = jit(
    make_sft_update,
    policy,
    donate_first=True,
    out_shardings=(shardings, replicated(mesh)),
  )
  return Parts(mesh, stream, state, update, schedule)


def _read_stream(config: Config, words: Tokenizer) -> PackedStream:
  """Reads the examples, and says how many they are and how they are packed."""
  settings = config.sft
  found = encode(
    _pairs(config),
    words,
    np.random.default_rng(config.seed),
    template=make_template(config),
    row_length=settings.row_length,
    max_responses=settings.max_responses,
  )
  if not found.examples:
    raise ValueError(
      f"no example to learn: {found.too_long} are longer than sft.row_length "
      f"= {settings.row_length} tokens, {found.unanswered} have no response"
    )
  stream = PackedStream(
    found.examples,
    num_rows=settings.num_rows,
    row_length=settings.row_length,
    pad_id=words.pad_id,
    seed=config.seed,
  )
  if hosts.is_first():
    print(_told(found, stream, settings.row_length), flush=True)
  return stream


def _pairs(config: Config) -> Iterator[Pair]:
  settings = config.sft
  for label in settings.tasks:
    try:
      spec = parse_spec(label, Spec("", 1, "train", None))
      task = make_task(spec.task, spec.data_dir, spec.difficulty)
    except ValueError as error:
      raise ValueError(f"sft.tasks: {label}: {error}") from error
    yield from pairs_of_task(task, label, spec.split)
  for path in settings.files:
    yield from pairs_of_file(
      Path(path),
      prompt_column=settings.prompt_column,
      response_column=settings.response_column,
    )


def _told(found: Encoded, stream: PackedStream, row_length: int) -> str:
  """Returns a line about the examples."""
  left_out = {
    f"{found.too_long} longer than a row": found.too_long,
    f"{found.unanswered} without a known response": found.unanswered,
  }
  told = ", ".join(text for text, count in left_out.items() if count)
  rows, filled = stream.rows_of_first_epoch()
  return (
    f"{len(found.examples)} examples{f', left out {told}' if told else ''}; an "
    f"epoch is {rows} rows of {row_length} tokens, {filled:.1%} filled, "
    f"{1 - filled:.1%} padding: {len(found.examples) / rows:.1f} examples a row"
  )


def _resumed(
  config: Config, parts: Parts, checkpoints: Checkpoints
) -> Standing:
  """Returns where the newest checkpoint stands."""
  state, _, host, _ = checkpoints.restore(parts.state, _key(config, parts))
  parts.stream.restore(host["data"])
  return Standing(state, host["step"], host["tokens"])


def _key(config: Config, parts: Parts) -> Array:
  """Returns the root key, as a checkpoint has it."""
  return hosts.place(jax.random.key(config.seed), replicated(parts.mesh))


def _loop(
  config: Config,
  parts: Parts,
  standing: Standing,
  writer: Writer,
  checkpoints: Checkpoints,
  interruption: Interruption,
) -> Path | None:
  """Runs until the last step or an interruption; see `sft`."""

  def save(at: Standing) -> Path:
    return checkpoints.save(
      at.step,
      at.state,
      _key(config, parts),
      {"data": parts.stream.state(), "step": at.step, "tokens": at.tokens},
    )

  with Progress(
    config.num_steps,
    first_rollout_step=standing.step,
    every=config.log.every,
    unit="step",
    scalars=_SHOWN,
    quiet=not hosts.is_first(),
  ) as progress:
    while standing.step < config.num_steps and not hosts.any_of(
      interruption.received is not None
    ):
      standing, numbers = _step(parts, standing)
      writer.write(
        numbers,
        step=standing.step,
        rollout_step=standing.step,
        tokens=standing.tokens,
      )
      progress.update(standing.step, numbers)
      every = config.checkpoint.every
      if every and standing.step % every == 0:
        save(standing)
  path = save(standing)
  return path if standing.step < config.num_steps else None


def _step(parts: Parts, standing: Standing) -> tuple[Standing, dict[str, Any]]:
  """Takes one optimizer step; returns its numbers too."""
  started = time.perf_counter()
  batch = next(parts.stream)
  read = int(np.sum(batch.positions >= 0))
  state, metrics = parts.update(
    standing.state, hosts.place(batch, by_row(parts.mesh))
  )
  numbers: dict[str, Any] = finalize(metrics)
  if not np.isfinite(numbers["actor/grad_norm"]):
    raise ValueError(
      f"step {standing.step + 1}: actor/grad_norm is "
      f"{numbers['actor/grad_norm']}; the run ends here, unsaved"
    )
  numbers |= {
    "actor/lr": float(parts.learning_rate(standing.step)),
    "sft/padding": 1 - read / batch.positions.size,
    "perf/tokens_per_second": read / (time.perf_counter() - started),
  }
  return Standing(state, standing.step + 1, standing.tokens + read), numbers


def define_flags() -> None:
  """Defines what the command takes; importing this file defines nothing."""
  config_flags.DEFINE_config_file("config", None, "the run's settings")
  flags.DEFINE_string("output", None, "the model folder to write")
  flags.mark_flags_as_required(["config", "output"])
  define_process_flags()


@command("interrupted unsaved; the same command goes on from its last save")
def main() -> int:
  """Trains; returns the exit status."""
  output = Path(str(flags.FLAGS.output))
  join_processes()
  check_kind(flags.FLAGS.config, sft=True)
  saved = sft(flags.FLAGS.config, output)
  if saved is not None:
    print(f"interrupted; saved {saved}; the same command goes on from there")
    return EXIT_INTERRUPTED
  if hosts.is_first():
    print(f"done: {output} is a model folder, for --config.model.path")
  return 0


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  define_flags()
  app.run(main, flags_parser=parse_flags)
