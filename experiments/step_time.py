"""Estimate the seconds of a rollout step from what the compiler says of it.

With Q prompts of G samples, S slots and samples of m tokens on average and of
T at most, decoding takes

    Q G m / S + T - m   steps:

the slots share the tokens of all samples, and at the end the longest sample
that has begun last is waited for. With as many slots as samples these are T
steps. Otherwise slots are refilled once, and then at most as often as
`refill_every` allows. The cost of a step grows with the filled part of the
cache, which `filling` returns.

An update with training.response_buckets scores each micro-batch up to one of
its lengths. `bucket_shares` returns how often each of them is taken, if the
lengths of samples are exponential up to the limit.

Seconds by the compiler are its cycles at the chip's clock; it knows nothing of
waiting for other devices, and has no cycles for hand-written kernels, whose
products are counted at the chip's peak. Seconds by the roofline are the least
that products, links and the reading of arguments allow.
"""

from collections.abc import Callable, Mapping
import functools
import math
from typing import NamedTuple

import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict as Config
import numpy as np

from entrojax.rollouts.sampler import keeps_prompts
from entrojax.system.sharding import num_row_shards
from entrojax.update import length_buckets
from experiments.chips import Chip
from experiments.measured import Measured


class StepTime(NamedTuple):
  """The seconds of one rollout step."""

  reading: float
  refilling: float
  decoding: float
  update: float

  @property
  def rollout(self) -> float:
    """Seconds until all samples have ended."""
    return self.reading + self.refilling + self.decoding

  @property
  def total(self) -> float:
    """Seconds of the whole step."""
    return self.rollout + self.update


def check_mean_length(mean_length: float, config: Config, flag: str) -> None:
  """Raise ValueError if no responses of a run have this mean length.

  Args:
    mean_length: tokens.
    config: config.rollout describes the rollout.
    flag: the name of its flag, for the message.
  """
  longest = config.rollout.response_length
  if not 0 < mean_length <= longest:
    raise ValueError(
      f"--{flag}={mean_length:g} must lie in (0, rollout.response_length = "
      f"{longest}]"
    )


def has_slot_for_all(config: Config) -> bool:
  """Return whether all responses are decoded at one time."""
  rollout = config.rollout
  rows = rollout.num_prompts * rollout.group_size
  return rollout.num_slots == 0 or rollout.num_slots >= rows


def counts(config: Config, mean_length: float) -> tuple[float, float]:
  """Return the numbers of decoding steps and of refills of a rollout.

  Args:
    config: config.rollout describes it.
    mean_length: the mean length of a response, tokens.
  """
  rollout = config.rollout
  rows = rollout.num_prompts * rollout.group_size
  slots = min(rollout.num_slots or rows, rows)
  steps = rows * mean_length / slots + rollout.response_length - mean_length
  refills = 0 if slots == rows else 1 + steps / rollout.refill_every
  return steps, refills


def filling(config: Config, mean_length: float) -> np.ndarray:
  """Return the slots of a row that are filled at each decoding step.

  With a slot for every response and prompts that their group shares, these are
  the slots of the response alone. Otherwise a prompt stands before them, and
  they are a ring: after T steps all of it has been written.

  Args:
    config: config.rollout describes the rollout.
    mean_length: the mean length of a response, tokens.

  Returns:
    i64[steps].
  """
  rollout = config.rollout
  steps = round(counts(config, mean_length)[0])
  written = np.minimum(np.arange(steps) + 1, rollout.response_length)
  if has_slot_for_all(config) and keeps_prompts(rollout.prompt_length):
    return written
  return rollout.prompt_length + written


def bucket_shares(
  config: Config, mesh: Mesh, mean_length: float
) -> tuple[float, ...]:
  """Return the share of the micro-batches that are scored up to each length.

  Args:
    config: config.rollout and config.training describe the update.
    mesh: the devices.
    mean_length: the mean length of a response, tokens.

  Returns:
    The share of each of training.response_buckets and of the full length; ()
    without buckets.
  """
  rollout, training = config.rollout, config.training
  if not training.response_buckets:
    return ()
  buckets = (*training.response_buckets, rollout.response_length)
  num_updates = training.updates_per_rollout // training.num_epochs
  num_parts = num_updates * training.num_microbatches
  rows = rollout.num_prompts * rollout.group_size
  group = rollout.group_size
  at_once = rows // num_parts // num_row_shards(mesh)
  unit = length_buckets.unit_size(
    math.gcd(group, at_once),
    group,
    rollout.prompt_length + rollout.response_length,
    rollout.response_length,
  )
  lengths = response_lengths(rows, mean_length, rollout.response_length)
  taken = [
    length_buckets.deal(
      jnp.asarray(part), buckets, group, unit, training.num_microbatches
    ).bucket
    for part in lengths.reshape(num_updates, -1)
  ]
  counts = np.bincount(np.concatenate(taken), minlength=len(buckets))
  return tuple((counts / num_parts).tolist())


def response_lengths(number: int, mean: float, longest: int) -> np.ndarray:
  """Draw lengths of responses, i32[number], with a fixed seed.

  They are exponential, and those above `longest` are cut off; the scale is such
  that the mean is right.

  Args:
    number: of responses.
    mean: tokens, at most `longest`.
    longest: tokens.
  """
  low, high = 0.0, 1e6 * longest
  for _ in range(100):  # the mean, scale (1 - exp(-longest / scale)), rises
    scale = (low + high) / 2
    is_low = -scale * math.expm1(-longest / scale) < mean
    low, high = (scale, high) if is_low else (low, scale)
  lengths = np.random.default_rng(0).exponential(scale, number)
  return np.minimum(np.ceil(lengths), longest).astype(np.int32)


def step_time(
  parts: Mapping[str, Measured],
  config: Config,
  mean_length: float,
  seconds: Callable[[Measured], float],
) -> StepTime:
  """Estimate a rollout step.

  Args:
    parts: all parts that experiments/parts.py names for the run.
    config: the run.
    mean_length: the mean length of a response, tokens.
    seconds: the seconds of a part.
  """
  steps, refills = counts(config, mean_length)
  return StepTime(
    reading=seconds(parts["reading"]),
    refilling=refills * seconds(parts["refilling"]) if refills else 0.0,
    decoding=steps * seconds(parts["decoding"]),
    update=seconds(parts["update"]),
  )


def describe(
  parts: Mapping[str, Measured],
  config: Config,
  chip: Chip,
  mean_length: float,
) -> str:
  """Write the estimates by the compiler's cycles and by the roofline."""
  rollout = config.rollout
  steps, refills = counts(config, mean_length)
  tokens = rollout.num_prompts * rollout.group_size * mean_length
  lines = [
    f"a rollout step with {mean_length:g} tokens in a response on average, "
    f"{steps:,.0f} decoding steps and {refills:,.0f} refills:"
  ]
  ways = {"by cycles": Measured.by_cycles, "by roofline": Measured.by_roofline}
  for name, way in ways.items():
    of_part = functools.partial(_apply, way, chip)
    time = step_time(parts, config, mean_length, of_part)
    lines.append(
      f"  {name:12} {time.total:9,.1f} s: reading {time.reading:,.2f}, "
      f"refilling {time.refilling:,.2f}, decoding {time.decoding:,.1f}, update "
      f"{time.update:,.1f}; {tokens / time.rollout:,.0f} tokens per second of "
      "the rollout"
    )
  return "\n".join(lines)


def _apply(
  way: Callable[[Measured, Chip], float], chip: Chip, part: Measured
) -> float:
  """Return the seconds of a part on a chip."""
  return way(part, chip)


def utilisation(update: Measured, useful_flops: float, chip: Chip) -> float:
  """Return the model FLOPs utilisation of an update by cycles.

  Args:
    update: the update.
    useful_flops: FLOPs of a device for an update that computes nothing twice.
    chip: the device.
  """
  return useful_flops / chip.flops / update.by_cycles(chip)
