"""Fill the disk, or make it unusable, while a run saves.

The largest size of a file is limited, as on a full disk, or a file takes the
place of the folder. The save must fail with one line. With room again, the next
save must succeed, and what was saved before must still be there.
"""

from collections.abc import Iterator
import contextlib
from pathlib import Path
import random
import resource

import jax
import jax.numpy as jnp
import numpy as np

from entrojax.system.checkpoint import Checkpoints, SaveError
from entrojax.types import TrainState
from experiments.torture.score import Score

_LIMIT = 512  # bytes of a file on the full disk


def torture(draw: random.Random, count: int, folder: Path) -> list[Score]:
  """Save `count` times to a full disk, and open an impossible folder."""
  full = []
  for number in range(count):
    text = _save_to_full_disk(draw, folder / str(number))
    full += [text] if text else []
  (folder / "file").write_text("")
  unusable = []
  for path in (folder / "file", folder / "file" / "below"):
    try:
      Checkpoints(path, keep=1)
      unusable.append(f"{path.name} was opened")
    except ValueError as error:
      unusable += [str(error)] if "\n" in str(error) else []
    except Exception as error:
      unusable.append(f"{type(error).__name__}: {error}")
  return [
    Score("saves to a full disk: one line, older ones kept", count, full),
    Score("folders that cannot be: one line", 2, unusable),
  ]


def _state(draw: random.Random, step: int) -> TrainState:
  rng = np.random.default_rng(draw.randrange(2**32))
  params = {"w": jnp.asarray(rng.normal(size=(64, 64)), jnp.float32)}
  return TrainState(params, {"m": params["w"]}, jnp.int32(step))


@contextlib.contextmanager
def _full_disk() -> Iterator[None]:
  """Let every file that grows beyond a few bytes be an error."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _save_to_full_disk(draw: random.Random, folder: Path) -> str:
  """Save, fail to save, save again; return what is wrong, "" if nothing."""
  checkpoints, key = Checkpoints(folder, keep=3), jax.random.key(0)
  states = [_state(draw, step) for step in range(3)]
  host = {"data": {}, "step": 0, "tokens": 0}
  try:
    checkpoints.save(0, states[0], key, host)
    checkpoints.wait()
    with _full_disk():
      try:
        checkpoints.save(1, states[1], key, host)
        checkpoints.wait()
        return "a save to a full disk succeeded"
      except SaveError as error:
        if "\n" in str(error):
          return f"no single line: {error}"
    if checkpoints.latest() != 0:
      return f"after the failure the newest is {checkpoints.latest()}"
    checkpoints.save(2, states[2], key, host)
    checkpoints.wait()
    restored = checkpoints.restore(states[0], key)
    if restored.rollout_step != 2:
      return f"checkpoint {restored.rollout_step} was restored, not 2"
    same = jnp.array_equal(restored.state.params["w"], states[2].params["w"])
    return "" if same else "other arrays were restored"
  finally:
    checkpoints.close()
