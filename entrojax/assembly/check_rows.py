"""Check that batches divide over mini-batches, micro-batches and devices.

There is one function for the whole config of a training run, and one each for
supervised learning, rollouts and evaluations. Each raises ValueError.
"""

from ml_collections import ConfigDict as Config

from entrojax.system.refusals import gathered


def check_divisibility(config: Config, num_row_shards: int) -> None:
  """Raise ValueError if a batch of a training run does not divide evenly.

  Args:
    config: the run's config.
    num_row_shards: devices on the mesh's axes data and fsdp together.
  """
  with gathered() as each:
    each(_check_update_rows, config, num_row_shards)
    each(check_rollout_rows, config, num_row_shards)
    each(check_evaluation_rows, config, num_row_shards)


def _check_update_rows(config: Config, num_row_shards: int) -> None:
  """Raise ValueError if the rows of an update do not divide evenly."""
  training = config.training
  if training.updates_per_rollout % training.num_epochs:
    raise ValueError(
      f"training.updates_per_rollout = {training.updates_per_rollout} is not a "
      f"multiple of training.num_epochs = {training.num_epochs}"
    )
  num_minibatches = training.updates_per_rollout // training.num_epochs
  rollout = config.rollout
  if rollout.num_prompts % num_minibatches:
    raise ValueError(
      f"rollout.num_prompts = {rollout.num_prompts} do not divide over "
      f"{num_minibatches} mini-batches (training.updates_per_rollout / "
      "num_epochs)"
    )
  rows = rollout.num_prompts // num_minibatches * rollout.group_size
  if rows % (training.num_microbatches * num_row_shards):
    raise ValueError(
      f"{rows} responses of a mini-batch (rollout.num_prompts x group_size / "
      f"{num_minibatches} mini-batches) do not divide over "
      f"{training.num_microbatches} training.num_microbatches x "
      f"{num_row_shards} devices of mesh = {tuple(config.mesh)}"
    )


def check_sft_rows(config: Config, num_row_shards: int) -> None:
  """Raise ValueError if a batch of supervised learning does not divide."""
  parts = config.training.num_microbatches * num_row_shards
  if config.sft.num_rows % parts:
    raise ValueError(
      f"sft.num_rows = {config.sft.num_rows} do not divide over "
      f"{config.training.num_microbatches} training.num_microbatches x "
      f"{num_row_shards} devices of mesh = {tuple(config.mesh)}"
    )


def check_rollout_rows(config: Config, num_row_shards: int) -> None:
  """Raise ValueError if the rows of a rollout do not divide over the mesh."""
  with gathered() as each:
    for key in ("rollout.num_prompts", "rollout.num_slots"):
      each(_check_rows, config, key, num_row_shards)


def check_evaluation_rows(config: Config, num_row_shards: int) -> None:
  """Raise ValueError if an evaluation's rows do not divide over the mesh."""
  with gathered() as each:
    for key in ("evaluation.prompts_per_batch", "rollout.num_slots"):
      each(_check_rows, config, key, num_row_shards)


def _check_rows(config: Config, key: str, num_row_shards: int) -> None:
  """Raise ValueError if the rows of `key` do not divide over the mesh."""
  section, leaf = key.split(".")
  if config[section][leaf] % num_row_shards:
    raise ValueError(
      f"{key} = {config[section][leaf]} does not divide over {num_row_shards} "
      f"devices of mesh = {tuple(config.mesh)}"
    )
