"""Name the sizes that grow, and the points at which their cost is measured."""

from collections.abc import Callable, Iterator
import dataclasses
from typing import NamedTuple

from ml_collections import ConfigDict as Config

from experiments.peers import our_step
from experiments.peers.workload import TINY, Workload

# With 1,024 words, random weights end few responses early, so that a rollout
# takes as many decoding steps as a response may have tokens.
BASE = Workload(
  8, 8, 64, sizes=dataclasses.replace(TINY, vocabulary=1024), num_terms=2
)
_NUM_MICROBATCHES = 4


class Axis(NamedTuple):
  """A size that grows while all others stay."""

  title: str
  values: tuple[int, ...]
  grown: Callable[[int], Workload]  # the workload at a value
  is_timed: bool = True  # whether it also changes the cost on one device


def _with_sizes(**changes: int) -> Workload:
  sizes = dataclasses.replace(BASE.sizes, **changes)
  return dataclasses.replace(BASE, sizes=sizes)


AXES = {
  "response_length": Axis(
    "tokens of a response",
    (32, 64, 128, 256, 512),
    lambda value: dataclasses.replace(BASE, response_length=value),
  ),
  "vocabulary": Axis(
    "words of the vocabulary",
    (256, 1024, 4096, 16384),
    lambda value: _with_sizes(vocabulary=value),
  ),
  "group_size": Axis(
    "responses to a prompt",
    (4, 8, 16, 32),
    lambda value: dataclasses.replace(BASE, group_size=value),
  ),
  "layers": Axis(
    "layers", (2, 4, 8, 16), lambda value: _with_sizes(layers=value)
  ),
  "devices": Axis("devices", (1, 2, 4, 8), lambda value: BASE, is_timed=False),
}


class Point(NamedTuple):
  """A value of an axis."""

  axis: str
  value: int

  @property
  def workload(self) -> Workload:
    """The model and the rollout batch at this point."""
    return AXES[self.axis].grown(self.value)

  @property
  def num_devices(self) -> int:
    """The devices that share the work."""
    return self.value if self.axis == "devices" else 1

  def config(self, folder: str) -> Config:
    """Return the settings of a run at this point.

    Args:
      folder: the model's folder.
    """
    workload = self.workload
    config = our_step.make_config(workload, folder)
    config.update_from_flattened_dict(
      {
        "mesh": (1, self.num_devices, 1),
        "rollout.prompt_buckets": (),
        "training.num_microbatches": _NUM_MICROBATCHES,
        "training.rematerialise": True,
        "evaluation.num_samples": workload.group_size,
        "evaluation.prompts_per_batch": workload.num_prompts,
      }
    )
    return config


def points(*, timed: bool) -> Iterator[Point]:
  """Yield all points.

  Args:
    timed: leave out the axes whose points differ only on several devices.
  """
  for name, axis in AXES.items():
    if axis.is_timed or not timed:
      yield from (Point(name, value) for value in axis.values)
