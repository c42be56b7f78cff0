"""Find the files of a model folder, which may be an adapter of another folder.

PEFT saves an adapter as adapter_config.json and adapter_model.safetensors. Its
folder may hold nothing else: `base_model_name_or_path` names the folder of the
base, where the other files are. It is a local path, absolute, relative to the
adapter's folder or to the current one; a name on a hub cannot be followed. A
base that has an adapter of its own is refused.
"""

import json
from pathlib import Path
from typing import Any

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def file_of(folder: Path, name: str) -> Path:
  """Return the path of a file of a model folder, or of its adapter's base.

  The path need not exist.

  Raises:
    ValueError: the folder is an adapter whose base is not a local folder.
  """
  folder = Path(folder)
  if (folder / name).exists() or not (folder / ADAPTER_CONFIG).is_file():
    return folder / name
  return base_folder(folder) / name


def base_folder(folder: Path) -> Path:
  """Return the folder that holds the weights under an adapter, if any.

  A folder with config.json is its own base.

  Raises:
    ValueError: adapter_config.json is malformed, or names no local folder or
      one that has an adapter of its own.
  """
  folder = Path(folder)
  if (folder / "config.json").is_file():
    return folder
  path = folder / ADAPTER_CONFIG
  if not path.is_file():
    return folder
  name = read_adapter_config(folder).get("base_model_name_or_path")
  for place in (Path(str(name)), folder / str(name)):
    if name and (place / "config.json").is_file():
      if (place / ADAPTER_CONFIG).is_file():
        raise ValueError(
          f"{path}: the base {place} has an adapter of its own, and only one "
          "adapter can be read: merge the base's into its weights first"
        )
      return place
  raise ValueError(
    f"{path}: base_model_name_or_path is {name!r}, which is not a local model "
    "folder: set it to the folder of the base"
  )


def read_adapter_config(folder: Path) -> dict[str, Any]:
  """Read adapter_config.json; raise ValueError if it is no JSON object."""
  path = Path(folder) / ADAPTER_CONFIG
  try:
    raw = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(f"{path}: not JSON: {error}") from error
  if not isinstance(raw, dict):
    raise ValueError(f"{path}: not a JSON object")
  return raw
