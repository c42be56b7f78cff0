"""Decide what the backward pass keeps, where the config leaves it open.

model.rematerialise and training.rematerialise say what the backward pass keeps
of a layer and of all micro-batches (models/kept.py). Either can be "auto". The
update is then compiled for one pair of values after another, beginning with the
pair that makes the fewest forward passes. The first pair that leaves a tenth of
a device's memory free is chosen. If none does, or if the memory is unknown, as
little as possible is kept.

A run keeps the choice in the file CHOICE_FILE of its directory. A run that is
resumed reads it there, so that its numbers do not depend on the memory of the
machine that it is resumed on.
"""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict as Config
import numpy as np

from entrojax.assembly.lowering import shapes_of_params, trace_update
from entrojax.assembly.methods import Recipe
from entrojax.assembly.model import make_model
from entrojax.models import DecoderConfig, lora
from entrojax.models.kept import (
  ATTENTION,
  AUTO,
  LAYERS,
  OF_A_LAYER,
  OF_MICROBATCHES,
)
from entrojax.system import hosts
from entrojax.system.memory import memory_of, peak_of
from entrojax.system.workdir import replace_text
from entrojax.types import Model
from entrojax.update.scoring import score_in_microbatches

CHOICE_FILE = "rematerialise.json"

_FREE = 0.1  # part of a device's memory that is left free
# Arrays that the backward pass keeps are sometimes fused into their readers and
# then take no memory. Values are left out without compiling anything only if
# these arrays alone would take this many times the memory.
FAR_TOO_MUCH = 2


class Choice(NamedTuple):
  """Values of model.rematerialise and training.rematerialise."""

  layers: bool | str
  microbatches: bool | str


# From the fewest forward passes to the most: one; two, without the attention of
# the second; two; two, with all arrays of one micro-batch; three.
_ORDER = (
  Choice(False, False),
  Choice(True, ATTENTION),
  Choice(True, LAYERS),
  Choice(False, True),
  Choice(ATTENTION, True),
  Choice(True, True),
)


def is_open(config: Config) -> bool:
  """Return whether one of the two settings is "auto"."""
  return AUTO in (config.model.rematerialise, config.training.rematerialise)


def candidates(config: Config) -> list[Choice]:
  """List the values that a config allows, from the fewest forward passes on.

  Without fused attention there is no ATTENTION to keep, and without
  micro-batches training.rematerialise has no effect.
  """
  layers, parts = config.model.rematerialise, config.training.rematerialise
  order = list(_ORDER)
  if layers != AUTO:
    order = [Choice(layers, value) for value in OF_MICROBATCHES]
  if parts != AUTO:
    order = [Choice(value, parts) for value in OF_A_LAYER]
  if layers != AUTO and parts != AUTO:
    order = [Choice(layers, parts)]
  elif not config.model.fused_attention:
    order = [choice for choice in order if ATTENTION not in choice]
  if config.training.num_microbatches == 1 and parts == AUTO:
    values = [layers] if layers != AUTO else OF_A_LAYER
    order = [
      Choice(value, True)
      for value in values
      if value != ATTENTION or config.model.fused_attention
    ]
  return order


def decide(
  config: Config, recipe: Recipe, sizes: DecoderConfig, mesh: Mesh
) -> Config:
  """Replace "auto" by the values that suit the devices' memory.

  The first process prints the choice. Every process compiles; they agree on the
  choice that keeps least.

  Args:
    config: a checked config.
    recipe: the run's methods.
    sizes: the model's sizes.
    mesh: the devices.

  Returns:
    The same config if there is nothing to choose; otherwise a copy.
  """
  if not is_open(config):
    return config
  here = [
    device
    for device in mesh.devices.flat
    if device.process_index == jax.process_index()
  ]
  memory = memory_of(here)
  number, text = choose(
    config, recipe, sizes, mesh, None if memory is None else memory / len(here)
  )
  number = max(hosts.gather_json(number))
  choice = candidates(config)[number]
  if hosts.is_first():
    print(f"{describe(choice)}: {text}", flush=True)
  return with_choice(config, choice)


def describe(choice: Choice) -> str:
  """Write a choice as the user would set it."""
  return (
    f"model.rematerialise = {choice.layers} and training.rematerialise = "
    f"{choice.microbatches}"
  )


def choose(
  config: Config,
  recipe: Recipe,
  sizes: DecoderConfig,
  mesh: Mesh,
  memory: float | None,
) -> tuple[int, str]:
  """Choose what the backward pass keeps.

  Args:
    config: a checked config.
    recipe: the run's methods.
    sizes: the model's sizes.
    mesh: the devices that the update is for.
    memory: bytes of one of them; None: unknown.

  Returns:
    The number of the choice in `candidates(config)`, and the reason.
  """
  order = candidates(config)
  if memory is None:
    return len(order) - 1, "the memory of the devices is unknown"
  refused: list[str] = []
  for number, choice in enumerate(order):
    with_it = with_choice(config, choice)
    model = make_model(with_it, sizes, mesh)
    kept = kept_bytes(with_it, model, mesh)
    if kept > FAR_TOO_MUCH * memory:
      refused.append(f"{_short(choice)} would keep {kept / 1e9:.0f} GB")
      continue
    need = update_bytes(with_it, recipe, model, mesh)
    if need is not None and need <= (1 - _FREE) * memory:
      text = f"the update takes {need / 1e9:.2f} of {memory / 1e9:.1f} GB"
      return number, "; ".join([text, *refused])
    size = "more than there is" if need is None else f"{need / 1e9:.1f} GB"
    refused.append(f"{_short(choice)} takes {size}")
  text = f"nothing leaves a tenth of {memory / 1e9:.1f} GB free"
  return len(order) - 1, "; ".join([text, *refused])


def _short(choice: Choice) -> str:
  return f"{choice.layers} and {choice.microbatches}"


def with_choice(config: Config, choice: Choice) -> Config:
  """Return a copy of a config with the values of a choice."""
  config = config.copy_and_resolve_references()
  with config.ignore_type():  # a text takes the place of a truth value
    config.model.rematerialise = choice.layers
    config.training.rematerialise = choice.microbatches
  return config


def update_bytes(
  config: Config, recipe: Recipe, model: Model, mesh: Mesh
) -> int | None:
  """Compile the update; return its bytes on a device, None if it cannot fit."""
  platform = mesh.devices.flat[0].platform
  lowered = trace_update(config, recipe, model, mesh).lower(
    lowering_platforms=(platform,)
  )
  try:
    return peak_of(lowered.compile())
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return None


def kept_bytes(config: Config, model: Model, mesh: Mesh) -> float:
  """Return the bytes on a device of what the traced backward pass keeps.

  Parameters that the backward pass reads are included. Nothing is compiled.

  Args:
    config: a checked config.
    model: the policy, built with the values of the config.
    mesh: the devices that share the arrays.
  """
  base, params = shapes_of_params(config, model, mesh)
  rollout, training = config.rollout, config.training
  steps = training.updates_per_rollout // training.num_epochs
  rows = rollout.num_prompts * rollout.group_size // steps
  length = rollout.prompt_length + rollout.response_length
  tokens = jax.ShapeDtypeStruct((rows, length), np.int32)

  def backward(base, params, tokens, positions):
    policy = model if base is None else lora.on_base(model, base)
    score = functools.partial(
      score_in_microbatches,
      policy,
      tokens=tokens,
      positions=positions,
      response_length=rollout.response_length,
      group_size=rollout.group_size,
      temperature=rollout.temperature,
      num_microbatches=training.num_microbatches,
      rematerialise=training.rematerialise,
      response_buckets=tuple(training.response_buckets),
      mesh=mesh,
    )
    return jax.vjp(score, params)[1]

  arrays = jax.eval_shape(backward, base, params, tokens, tokens)
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(arrays))
  return size / mesh.devices.size


def with_choice_of(config: Config, workdir: Path) -> Config:
  """Return the config of a run that is resumed, with what it chose before.

  Args:
    config: a checked config.
    workdir: the run directory.

  Returns:
    The same config if it leaves nothing open or the directory has no choice.
  """
  if not is_open(config):
    return config
  own = _read_choice(workdir) if hosts.is_first() else None
  first = hosts.gather_json(own)[0]
  if first is None or Choice(*first) not in candidates(config):
    return config
  if hosts.is_first():
    print(f"{describe(Choice(*first))}, as when the run began", flush=True)
  return with_choice(config, Choice(*first))


def _read_choice(workdir: Path) -> Choice | None:
  """Read the choice of the run in a directory, or return None.

  Only a run with a checkpoint is resumed; any other chooses anew.
  """
  checkpoints = workdir / "checkpoints"
  resumes = checkpoints.is_dir() and any(
    path.name.isdigit() for path in checkpoints.iterdir()
  )
  if not resumes:
    return None
  try:
    return Choice(**json.loads((workdir / CHOICE_FILE).read_text()))
  except (OSError, ValueError, TypeError):
    return None


def write_choice(workdir: Path, choice: Choice) -> None:
  """Write the choice of a run into its directory."""
  replace_text(workdir / CHOICE_FILE, json.dumps(choice._asdict()) + "\n")
