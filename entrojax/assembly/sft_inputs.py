"""Prepare what supervised learning starts from: examples and a model folder.

`read_stream` reads prompts and responses to learn from, and packs them into
rows of sft.row_length tokens. They come from tasks (sft.tasks) and from files
(sft.files). A task may give traces to learn from, which may be wrong; otherwise
it must know right responses.

`with_model_path` returns a config whose model.path is set. If the config sets
none, the run starts from a new model, and model.path becomes the folder that
the caller passes. The function writes the new model to this folder only if
`write` is true; otherwise another process or an earlier start of the run has
written it. The weights are random, and the config's section new_model gives the
characters and sizes of the model.

Parameters are loaded elsewhere (model.py).
"""

from collections.abc import Iterator
import copy
from pathlib import Path

import jax
from ml_collections import ConfigDict as Config
import numpy as np

from entrojax.assembly.data import (
  Spec,
  make_template,
  open_task,
  parse_spec,
)
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
from entrojax.models import DecoderConfig, decoder, hugging_face
from entrojax.system import hosts


def with_model_path(config: Config, folder: Path, *, write: bool) -> Config:
  """Set model.path to the folder of a new model if the config asks for one.

  Args:
    config: the settings of the run; not changed.
    folder: the folder of the new model, as it is before the first step.
    write: whether to write the folder.

  Returns:
    The config itself if it sets model.path, otherwise a copy that does.
  """
  if config.model.path:
    return config
  config = copy.deepcopy(config)
  settings = dict(config.new_model)
  words = tokenizer.character_tokenizer(settings.pop("characters"))
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


def read_stream(config: Config, folder: Path, words: Tokenizer) -> PackedStream:
  """Read and pack the examples; print how many there are.

  Args:
    config: the settings of the run.
    folder: the model's folder.
    words: the model's tokenizer.

  Raises:
    ValueError: no example is left, or a task, a file or a row is wrong; the
      message names it.
  """
  settings = config.sft
  encoded = encode(
    _pairs(config),
    words,
    np.random.default_rng(config.seed),
    template=make_template(config, folder),
    row_length=settings.row_length,
    max_responses=settings.max_responses,
  )
  if not encoded.examples:
    raise ValueError(
      f"no example to learn: {encoded.too_long} are longer than sft.row_length "
      f"= {settings.row_length} tokens, {encoded.unanswered} have no response"
    )
  stream = PackedStream(
    encoded.examples,
    num_rows=settings.num_rows,
    row_length=settings.row_length,
    pad_id=words.pad_id,
    seed=config.seed,
  )
  if hosts.is_first():
    print(_describe(encoded, stream, settings.row_length), flush=True)
  return stream


def _pairs(config: Config) -> Iterator[Pair]:
  """Yield the prompts and responses of sft.tasks, then of sft.files."""
  settings = config.sft
  for label in settings.tasks:
    try:
      spec = parse_spec(label, Spec("", 1, "train", None))
      task = open_task(config, spec)
    except ValueError as error:
      raise ValueError(f"sft.tasks: {label}: {error}") from error
    yield from pairs_of_task(task, label, spec.split)
  for path in settings.files:
    yield from pairs_of_file(
      Path(path),
      prompt_column=settings.prompt_column,
      response_column=settings.response_column,
    )


def _describe(encoded: Encoded, stream: PackedStream, row_length: int) -> str:
  """Describe the examples and how they are packed, in one line."""
  left_out = {
    f"{encoded.too_long} longer than a row": encoded.too_long,
    f"{encoded.unanswered} without a known response": encoded.unanswered,
  }
  counts = ", ".join(text for text, count in left_out.items() if count)
  rows, filled = stream.rows_of_first_epoch()
  return (
    f"{len(encoded.examples)} examples"
    f"{f', left out {counts}' if counts else ''}; an epoch is {rows} rows of "
    f"{row_length} tokens, {filled:.1%} filled, {1 - filled:.1%} padding: "
    f"{len(encoded.examples) / rows:.1f} examples per row"
  )
