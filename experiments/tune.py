"""Search the settings with which a rollout step takes the fewest seconds.

    python -m experiments.rehearse --config=... --topology=... --tune=FILE

Of a config, these settings are varied: the mesh, rollout.num_slots,
training.num_microbatches, and the two settings of what the backward pass keeps.
None of them changes what is learned. Each part of a rollout step is compiled
for the slice (parts.py), once for all settings that it does not depend on, and
its bytes and seconds are kept as a line of FILE. A search that was stopped goes
on from these lines.

Settings are left out if others are known to be better:

- Fewer micro-batches are faster, as long as the update fits. For each choice of
  what is kept the search begins with one and doubles them until it fits.
- A choice with more forward passes is slower, so it is tried only with fewer
  micro-batches than those before it needed.
- More slots take fewer decoding steps. The search begins with a slot for each
  response and halves them until decoding fits.
"""

from collections.abc import Callable, Iterator, Sequence
import functools
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh
from ml_collections import ConfigDict as Config

from entrojax.assembly import rematerialisation
from entrojax.assembly.methods import Recipe
from entrojax.assembly.model import make_model
from entrojax.assembly.rematerialisation import Choice
from entrojax.models import DecoderConfig
from entrojax.models.kept import AUTO
from entrojax.system.sharding import make_mesh, num_row_shards
from entrojax.system.workdir import concerns, flatten, replace_text
from experiments import parts, step_time
from experiments.chips import Chip
from experiments.measured import DoesNotFitError, Measured, measure

_FREE = 0.1  # part of a chip's memory that stays free
_NUM_SHOWN = 10
# settings that a part does not depend on
_IGNORED: tuple[str, ...] = (
  "seed",
  "num_rollout_steps",
  "evaluation",
  "checkpoint",
  "log",
)
_OF_ROLLOUTS = ("num_slots", "refill_every")


class Estimate(NamedTuple):
  """What is kept of a compiled part."""

  peak: float | None  # bytes on a device; None: it does not fit
  seconds: float = 0.0  # by the compiler's cycles

  def fits(self, chip: Chip) -> bool:
    """Return whether a tenth of the chip's memory stays free."""
    return self.peak is not None and self.peak <= (1 - _FREE) * chip.memory


class Result(NamedTuple):
  """Settings, and what they need."""

  mesh: tuple[int, ...]
  num_slots: int
  num_microbatches: int
  kept: Choice
  rollout_peak: float  # bytes
  update_peak: float  # bytes
  rollout: float  # seconds
  update: float  # seconds

  @property
  def total(self) -> float:
    """Seconds of a rollout step."""
    return self.rollout + self.update


class Compiler:
  """Estimates parts, and keeps the estimates in a file of JSON lines."""

  def __init__(
    self,
    path: Path,
    topology: str,
    chip: Chip,
    recipe: Recipe,
    sizes: DecoderConfig,
    mean_length: float,
  ):
    """Read the lines of earlier searches.

    Args:
      path: the file, created when the first part has been compiled.
      topology: the slice's name.
      chip: its kind of device.
      recipe: the run's methods.
      sizes: the model's sizes.
      mean_length: the mean length of a response, tokens.
    """
    self.chip, self.sizes, self.mean_length = chip, sizes, mean_length
    self._path, self._topology, self._recipe = path, topology, recipe
    self._known = {row["key"]: row["estimate"] for row in _rows(path)}

  def estimate(self, name: str, config: Config, mesh: Mesh) -> Estimate:
    """Return the estimate of a part; compile it if it is not known yet."""
    key = _key(name, self._topology, config, mesh, self.mean_length)
    if key not in self._known:
      estimate = self._compile(name, config, mesh)
      self._known[key] = estimate
      row = {
        "key": key,
        "part": name,
        "topology": self._topology,
        "mesh": list(mesh.shape.values()),
        "num_slots": config.rollout.num_slots,
        "num_microbatches": config.training.num_microbatches,
        "kept": [config.model.rematerialise, config.training.rematerialise],
        "estimate": estimate,
      }
      with self._path.open("a") as file:
        file.write(json.dumps(row) + "\n")
      print(json.dumps(row), flush=True)
    return Estimate(*self._known[key])

  def _compile(self, name: str, config: Config, mesh: Mesh) -> Estimate:
    """Compile a part; skip an update that would keep far too much."""
    model = make_model(config, self.sizes, mesh)
    if name == "update":
      kept = rematerialisation.kept_bytes(config, model, mesh)
      if kept > rematerialisation.FAR_TOO_MUCH * self.chip.memory:
        return Estimate(None)
    part_of_step = parts.parts_of_step(
      config, self._recipe, model, mesh, self.mean_length
    )[name]
    platform = mesh.devices.flat[0].platform
    try:
      part = measure(part_of_step, platform, mesh.devices.size)
    except DoesNotFitError:
      return Estimate(None)
    return Estimate(part.peak, Measured.by_cycles(part, self.chip))


def _rows(path: Path) -> list[dict[str, Any]]:
  """Read the lines of a file, and remove a last line that was cut off."""
  text = path.read_text() if path.exists() else ""
  whole = text[: text.rfind("\n") + 1]
  if whole != text:
    replace_text(path, whole)
  return [json.loads(line) for line in whole.splitlines()]


def _key(
  name: str, topology: str, config: Config, mesh: Mesh, mean_length: float
) -> str:
  """Return a digest of everything that a part depends on."""
  settings = flatten(config.to_dict())
  ignored = (*_IGNORED, "mesh")
  if name == "update":
    ignored += tuple(f"rollout.{leaf}" for leaf in _OF_ROLLOUTS)
  else:
    ignored += ("training", "optimizer", "model.rematerialise")
  if name == "reading":
    ignored += tuple(f"rollout.{leaf}" for leaf in _OF_ROLLOUTS)
  kept = {
    key: value for key, value in settings.items() if not concerns(key, ignored)
  }
  # how much of the cache, and which buckets of an update, depends on it
  by_length = name == "decoding" or (
    name == "update" and config.training.response_buckets
  )
  length = mean_length if by_length else None
  parts_of_key = [name, topology, list(mesh.shape.items()), kept, length]
  text = json.dumps(parts_of_key, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def search(
  compiler: Compiler,
  config: Config,
  devices: Sequence[Any],
  num_slices: int,
) -> list[Result]:
  """Return the settings that fit, from the fewest seconds on.

  Args:
    compiler: estimates parts.
    config: a checked config.
    devices: the devices of all slices, in the order of the topology.
    num_slices: the number of slices.

  Raises:
    ValueError: micro-batches are part of the method.
  """
  if config.training.scope == "micro":
    raise ValueError(
      "training.scope is 'micro', so that training.num_microbatches is a "
      "setting of the method: --tune needs 'minibatch'"
    )
  results = []
  for shape in meshes(len(devices), num_slices, compiler.sizes):
    mesh = make_mesh(shape, devices)
    of_mesh = functools.partial(compiler.estimate, mesh=mesh)
    rollout = _best_rollout(of_mesh, compiler, config, mesh)
    if rollout is None:
      continue
    slots, rollout_peak, seconds = rollout
    for number, kept, update in _updates(of_mesh, compiler, config, mesh):
      results.append(
        Result(
          shape,
          slots,
          number,
          kept,
          rollout_peak,
          update.peak or 0.0,
          seconds,
          update.seconds,
        )
      )
  return sorted(results, key=lambda result: result.total)


def meshes(
  num_devices: int, num_slices: int, sizes: DecoderConfig
) -> list[tuple[int, int, int]]:
  """List meshes whose tensor axis divides the number of key-value heads."""
  shapes, tensor = [], 1
  while not sizes.num_key_value_heads % tensor:
    if not num_devices % (tensor * num_slices):
      fsdp = num_devices // tensor // num_slices
      shapes.append((num_slices, fsdp, tensor))
    tensor *= 2
  return shapes


def _best_rollout(
  estimate: Callable[..., Estimate],
  compiler: Compiler,
  config: Config,
  mesh: Mesh,
) -> tuple[int, float, float] | None:
  """Find the most slots with which a rollout fits.

  Returns:
    The number of slots, the bytes at the peak and the seconds of a rollout;
    None if nothing fits.
  """
  rollout, shards = config.rollout, num_row_shards(mesh)
  if rollout.num_prompts % shards:
    return None
  slots = rollout.num_prompts * rollout.group_size
  while slots and slots % shards == 0:
    with_slots = config.copy_and_resolve_references()
    with_slots.rollout.num_slots = slots
    estimates = {}
    names = parts.names(with_slots) - {"update"}
    for name in sorted(names):  # decoding first, which needs the most memory
      estimates[name] = estimate(name, with_slots)
      if not estimates[name].fits(compiler.chip):
        break
    else:
      steps, refills = step_time.counts(with_slots, compiler.mean_length)
      times = {"decoding": steps, "refilling": refills, "reading": 1}
      return (
        slots,
        max(part.peak or 0.0 for part in estimates.values()),
        sum(times[name] * part.seconds for name, part in estimates.items()),
      )
    slots //= 2
  return None


def _updates(
  estimate: Callable[..., Estimate],
  compiler: Compiler,
  config: Config,
  mesh: Mesh,
) -> Iterator[tuple[int, Choice, Estimate]]:
  """Yield micro-batches and choices with which the update fits."""
  training, shards = config.training, num_row_shards(mesh)
  rows = config.rollout.num_prompts * config.rollout.group_size
  rows //= training.updates_per_rollout // training.num_epochs
  bound = rows + 1
  for number, choice in _choices(config):
    number_of_parts = number
    while number_of_parts < bound and rows % (number_of_parts * shards) == 0:
      with_it = rematerialisation.with_choice(config, choice)
      with_it.training.num_microbatches = number_of_parts
      update = estimate("update", with_it)
      if update.fits(compiler.chip):
        yield number_of_parts, choice, update
        bound = number_of_parts
        break
      number_of_parts *= 2


def _choices(config: Config) -> Iterator[tuple[int, Choice]]:
  """Yield the least number of micro-batches of each choice, and the choice."""
  config = config.copy_and_resolve_references()
  with config.ignore_type():
    config.model.rematerialise = config.training.rematerialise = AUTO
  config.training.num_microbatches = 2
  for choice in rematerialisation.candidates(config):
    # one micro-batch alone keeps what its layers keep
    yield (1 if choice.microbatches is True else 2), choice


def describe(results: Sequence[Result]) -> str:
  """Write the best results as a table."""
  lines = [
    f"{'mesh':>12}{'slots':>8}{'micro':>7}{'model / training kept':>24}"
    f"{'rollout':>16}{'update':>16}{'step':>9}"
  ]
  for result in results[:_NUM_SHOWN]:
    kept = f"{result.kept.layers} / {result.kept.microbatches}"
    mesh = "x".join(map(str, result.mesh))
    lines.append(
      f"{mesh:>12}{result.num_slots:8}{result.num_microbatches:7}{kept:>24}"
      f"{result.rollout:7,.1f} s {result.rollout_peak / 1e9:4.1f} GB"
      f"{result.update:7,.1f} s {result.update_peak / 1e9:4.1f} GB"
      f"{result.total:7,.1f} s"
    )
  if not results:
    lines.append("no settings leave a tenth of the memory free")
  return "\n".join(lines)
