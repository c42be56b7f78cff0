"""Check the config of supervised learning."""

from ml_collections import ConfigDict as Config

from entrojax.arguments import require
from entrojax.assembly.check_values import (
  DTYPES,
  check_at_least,
  check_numbers,
  check_precision,
)
from entrojax.models.kept import AUTO
from entrojax.system.refusals import gathered


def check_sft(config: Config) -> None:
  """Check the config of supervised learning.

  Raises:
    ValueError: values cannot work; the message names the keys.
  """
  check_numbers(config)
  with gathered() as each:
    each(check_precision, config)
    each(
      check_at_least,
      config,
      {
        "seed": 0,
        "num_steps": 1,
        "lora.rank": 0,
        "sft.max_responses": 1,
        "sft.row_length": 2,
        "sft.num_rows": 1,
        "training.num_microbatches": 1,
        "checkpoint.every": 0,
        "checkpoint.minutes": 0,
        "checkpoint.keep": 1,
        "faults.max_in_a_row": 1,
        "log.every": 1,
      },
    )
    each(
      require,
      not config.checkpoint.keep_best,
      "checkpoint.keep_best is set, and entrojax.sft evaluates nothing: leave "
      "it out",
    )
    for section in ("model", "training"):
      each(
        require,
        config[section].rematerialise != AUTO,
        f"{section}.rematerialise = {AUTO!r} is a setting of entrojax.main: "
        "entrojax.sft needs True or False",
      )
    each(_check_sft_model, config)
    each(
      require,
      config.sft.tasks or config.sft.files,
      "sft.tasks and sft.files are empty: no example to learn",
    )
    each(
      require,
      config.sft.dtype in DTYPES,
      f"sft.dtype must be 'float32' or 'bfloat16', got {config.sft.dtype!r}",
    )


def _check_sft_model(config: Config) -> None:
  """Raise ValueError unless supervised learning has one model to train."""
  path, characters = config.model.path, config.new_model.characters
  if not path and not characters:
    raise ValueError(
      "model.path is not set, nor is new_model.characters: set one of them, "
      "to train an existing model or a new one"
    )
  if path and characters:
    raise ValueError(
      f"model.path = {path!r} and new_model.characters are both set: train "
      "either that model or a new one"
    )
  if characters and config.lora.rank:
    raise ValueError(
      "lora.rank is set, and the model is a new one, whose own weights would "
      "stay random: set lora.rank to 0"
    )
