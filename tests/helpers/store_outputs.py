r"""Run a notebook and store what its cells print and show in its file.

    python -m tests.helpers.store_outputs colab/one_batch.ipynb

The cells run in this process, in a folder of their own, so that a run starts
from nothing. The file is written when the last cell has ended; a cell that
raises leaves it as it was. The command prints the minutes that the notebook
took, and the minutes of a processor.

A notebook that needs an accelerator keeps other parameters in its metadata,
under `stored_with`, with which it runs here. They take the place of its own
ones. Its first cell must name `stored_with`, so that readers know.
"""

import base64
import contextlib
import io
import json
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

from tests.helpers import notebooks
from tests.helpers.paths import ROOT

_LARGEST = 300_000  # bytes of all pictures of a notebook


def store(path: Path) -> None:
  """Run a notebook and write its outputs into its file.

  Args:
    path: the notebook; its cells run at the root of a copy of the repository.

  Raises:
    ValueError: the pictures are too large, or a path of this machine is shown.
  """
  document = json.loads(path.read_text(encoding="utf-8"))
  names: dict[str, Any] = {"__name__": "__main__"}
  count = 0
  for cell in document["cells"]:
    if cell["cell_type"] != "code":
      continue
    count += 1
    cell["execution_count"] = count
    cell["outputs"] = _outputs(notebooks.code_of(cell), count, names)
    if notebooks.is_parameters(cell):
      names |= notebooks.stored_with(document)
  text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
  _check(document, text)
  path.write_text(text, encoding="utf-8")


def _outputs(source: str, count: int, names: dict[str, Any]) -> list[Any]:
  """Run a cell and return its outputs in the notebook's format.

  Args:
    source: the cell's code.
    count: its number.
    names: the names of the notebook, which the cell may change.
  """
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    value = notebooks.run_cell(source, f"cell {count}", names)
  outputs: list[Any] = []
  if printed.getvalue():
    text = printed.getvalue().splitlines(keepends=True)
    outputs.append({"name": "stdout", "output_type": "stream", "text": text})
  if value is not None:
    outputs.append(
      {
        "data": _data(notebooks.show(value)),
        "execution_count": count,
        "metadata": {},
        "output_type": "execute_result",
      }
    )
  return outputs


def _data(shown: Any) -> dict[str, Any]:
  """Return what a cell shows, by its media type."""
  if isinstance(shown, bytes):
    return {"image/png": base64.b64encode(shown).decode()}
  kind = "text/html" if shown.lstrip().startswith("<") else "text/plain"
  return {kind: shown.splitlines(keepends=True)}


def _check(document: dict[str, Any], text: str) -> None:
  """Raise ValueError if outputs are too large or name this machine."""
  pictures = [
    output["data"].get("image/png", "")
    for cell in document["cells"]
    for output in cell.get("outputs", ())
    if "data" in output
  ]
  size = sum(len(picture) for picture in pictures) * 3 // 4
  if size > _LARGEST:
    raise ValueError(f"the pictures have {size} bytes, at most {_LARGEST}")
  for place in (str(ROOT), str(Path.home()), tempfile.gettempdir()):
    if place in text:
      raise ValueError(f"an output names {place}, a folder of this machine")


def main() -> None:
  """Store the outputs of the notebook that the command line names."""
  path = Path(sys.argv[1]).absolute()
  # the notebook finds the repository above the folder that it runs in, and
  # its runs are written there
  with tempfile.TemporaryDirectory() as folder:
    for place in ROOT.iterdir():
      if place.name != "runs":
        (Path(folder) / place.name).symlink_to(place)
    os.chdir(folder)
    start, cpu = time.perf_counter(), time.process_time()
    store(path)
    minutes = (time.perf_counter() - start) / 60
    busy = (time.process_time() - cpu) / 60
    print(f"{path.name}: {minutes:.1f} minutes, {busy:.1f} of a processor")
    os.chdir(ROOT)


if __name__ == "__main__":
  main()
