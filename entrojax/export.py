"""Write the policy of a run as a Hugging Face model folder.

    python -m entrojax.export runs/mine --output my_model

The weights come from the newest checkpoint of the run, or from the one that
--checkpoint names; a LoRA adapter is merged into its base, and is also written
by itself in PEFT's format, to the folder `adapter`. The weights are float32
unless --dtype=bfloat16 is set. Config, tokenizer and chat template are copied
from the run's base model, except the type of the weights in config.json. So
`transformers` loads the new folder as it loads the base model's.
"""

import contextlib
from pathlib import Path

from absl import flags
import jax
import jax.numpy as jnp

from entrojax.assembly.model import make_lora, model_folder
from entrojax.models import decoder, hugging_face, lora
from entrojax.models.peft import write_adapter
from entrojax.system.checkpoint import Checkpoints
from entrojax.system.command_line import command
from entrojax.system.workdir import (
  CONFIG_FILE,
  hold_file,
  read_config,
  refuse_directory_of,
)

ADAPTER_FOLDER = "adapter"

FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
  "output", "", "the model folder to write", flag_values=FLAGS
)
_CHECKPOINT = flags.DEFINE_string(
  "checkpoint",
  "newest",
  "the checkpoint to read: newest, best (see checkpoint.keep_best), or a "
  "number of rollout steps",
  flag_values=FLAGS,
)
_DTYPE = flags.DEFINE_enum(
  "dtype",
  "float32",
  ("float32", "bfloat16"),
  "the type of the weights in the folder",
  flag_values=FLAGS,
)


def export(
  workdir: Path,
  output: Path,
  *,
  dtype: str = "float32",
  checkpoint: str = "newest",
) -> int:
  """Write the policy of a checkpoint of a run.

  Args:
    workdir: the run directory.
    output: the model folder to write.
    dtype: the type of the weights in the folder, "float32" or "bfloat16".
    checkpoint: "newest", "best", or a number of rollout steps.

  Returns:
    The number of rollout steps that the policy was trained for.

  Raises:
    ValueError: the directory holds no run or no such checkpoint, the checkpoint
      is damaged, the base model cannot be read, or the output is the directory
      of a run or a sweep; the message names the file.
  """
  path = workdir / CONFIG_FILE
  checkpoints_path = workdir / "checkpoints"
  if not path.is_file() or not checkpoints_path.is_dir():
    raise ValueError(f"{workdir} holds no run with checkpoints")
  refuse_directory_of(output, "--output", "run", "sweep")
  config = read_config(workdir)
  try:
    source = model_folder(config["model"]["path"])
  except (LookupError, TypeError, AttributeError) as error:
    raise ValueError(
      f"{path} names no model folder as model.path, from which config and "
      "tokenizer are copied"
    ) from error
  sizes, adapter = hugging_face.read_config(source), make_lora(config)
  model = decoder(sizes, lora=adapter)
  init = (
    model.init if adapter is None else lambda k: lora.split(model.init(k))[1]
  )
  checkpoints = Checkpoints(checkpoints_path, keep=1, alone=True)
  with contextlib.closing(checkpoints):
    step, params = checkpoints.restore_params(
      jax.eval_shape(init, jax.random.key(0)),
      _step_of(checkpoints, checkpoint),
    )
  if adapter is not None:
    base = hugging_face.load_params(source, sizes)
    write_adapter(output / ADAPTER_FOLDER, params, adapter, str(source))
    params = lora.merge(base, params, adapter)
  hugging_face.export_folder(output, source, params, dtype=jnp.dtype(dtype))
  return step


def _step_of(checkpoints: Checkpoints, name: str) -> int | None:
  """Return the rollout step of a checkpoint's name; None for the newest.

  Raises:
    ValueError: it is no name, or the run has no best checkpoint.
  """
  if name == "newest":
    return None
  if name == "best":
    step = checkpoints.read_best()
    if step is None:
      raise ValueError(
        "--checkpoint=best: the run kept no best checkpoint; "
        "checkpoint.keep_best asks for one"
      )
    return step
  if not name.isdecimal():
    raise ValueError(
      f"--checkpoint={name} is neither newest nor best nor a number"
    )
  return int(name)


@command(
  FLAGS,
  arguments={"RUN": "the directory of a run, with checkpoints"},
  required=("output",),
)
def main(run: str) -> None:
  """Write the model folder."""
  output = Path(_OUTPUT.value)
  lock = output.absolute()
  with hold_file(lock.with_name(f"{lock.name}.lock")):
    step = export(
      Path(run), output, dtype=_DTYPE.value, checkpoint=_CHECKPOINT.value
    )
  print(f"done: {_OUTPUT.value}, after {step} rollout steps")


if __name__ == "__main__":
  main()
