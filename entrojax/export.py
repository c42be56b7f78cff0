"""The command that writes a run's policy as a Hugging Face folder.

    python -m entrojax.export runs/mine --output my_model

The folder is the run's base with other weights: config, tokenizer and chat
template are the base's own, so that `transformers` loads it as it loads that.
"""

import argparse
from collections.abc import Sequence
import contextlib
import json
from pathlib import Path
import sys

import jax
import jax.numpy as jnp

from entrojax.assembly.model import make_lora, model_folder
from entrojax.models import decoder, hugging_face, lora
from entrojax.system.checkpoint import Checkpoints
from entrojax.system.workdir import CONFIG_FILE

DTYPES = ("float32", "bfloat16")


def export(workdir: Path, output: Path, *, dtype: str = "float32") -> int:
  """Writes the policy of the newest checkpoint of a run.

  Args:
    workdir: the run directory.
    output: the folder to write.
    dtype: of the weights on disk.

  Returns:
    The rollout steps that the policy has been trained for.

  Raises:
    ValueError: the directory holds no run or no checkpoint, or its base model
      cannot be read; the message names the file.
  """
  path = workdir / CONFIG_FILE
  checkpoints_path = workdir / "checkpoints"
  if not path.is_file() or not checkpoints_path.is_dir():
    raise ValueError(f"{workdir} holds no run with checkpoints")
  config = json.loads(path.read_text())
  source = model_folder(config["model"]["path"])
  sizes, adapter = hugging_face.read_config(source), make_lora(config)
  model = decoder(sizes, lora=adapter)
  init = (
    model.init if adapter is None else lambda k: lora.split(model.init(k))[1]
  )
  checkpoints = Checkpoints(checkpoints_path, keep=1, alone=True)
  with contextlib.closing(checkpoints):
    step, params = checkpoints.restore_params(
      jax.eval_shape(init, jax.random.key(0))
    )
  if adapter is not None:
    base = hugging_face.load_params(source, sizes)
    params = lora.merge(base, params, adapter)
  hugging_face.export_folder(output, source, params, dtype=jnp.dtype(dtype))
  return step


def main(arguments: Sequence[str] | None = None) -> None:
  """Runs the command line; a run that cannot be read ends it with status 2."""
  parser = argparse.ArgumentParser(
    prog="python -m entrojax.export",
    description="Writes a run's policy as a Hugging Face folder.",
  )
  parser.add_argument("run", metavar="RUN", help="run directory")
  parser.add_argument("--output", required=True, help="folder to write")
  parser.add_argument("--dtype", choices=DTYPES, default="float32")
  options = parser.parse_args(arguments)
  try:
    step = export(Path(options.run), Path(options.output), dtype=options.dtype)
  except (ValueError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
  print(f"done: {options.output}, after {step} rollout steps")


if __name__ == "__main__":
  main()
