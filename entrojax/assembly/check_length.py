"""Warn where the schedules of a run and its length do not fit.

A schedule that is longer than the run never reaches its last value. Shorter
schedules are not reported, except a learning rate whose decay ends before the
run does. In a curriculum, the learning rate has to fit the length of a stage.
The settings of the configs follow `num_rollout_steps` unless they are set.
"""

from collections.abc import Mapping
import warnings

from ml_collections import ConfigDict as Config

from entrojax.schedules import warn_if_longer


def warn_of_lengths(
  config: Config,
  rule_lengths: Mapping[str, int],
  control_lengths: Mapping[str, int],
) -> None:
  """Warn of each schedule that does not fit the length of the run.

  Args:
    config: the settings of the run.
    rule_lengths: setting -> rollout steps until it stops moving a rule.
    control_lengths: setting -> optimizer steps until it stops moving the
      controller.
  """
  rollout_steps = config.num_rollout_steps
  optimizer_steps = rollout_steps * config.training.updates_per_rollout
  for key, length in rule_lengths.items():
    warn_if_longer(key, length, rollout_steps, "rollout")
  for key, length in control_lengths.items():
    warn_if_longer(key, length, optimizer_steps)
  _warn_of_learning_rate(config)


def _warn_of_learning_rate(config: Config) -> None:
  """Warn if the learning rate's warm-up or decay does not fit the run."""
  settings, steps = config.optimizer, config.num_rollout_steps
  if config.curriculum.table:  # each stage has a fresh optimizer
    steps = min(steps, config.curriculum.steps_per_stage or steps)
  steps *= config.training.updates_per_rollout
  warmup, decay = settings.warmup_steps, settings.decay_steps
  end = warmup + decay
  key = "optimizer.warmup_steps"
  if decay:
    key += " + optimizer.decay_steps"
  warn_if_longer(key, end, steps)
  if decay and end < steps:
    warnings.warn(
      f"{key} = {end}: from then on the learning rate is "
      f"{settings.end_fraction:g} of its peak, and the run has {steps} "
      "optimizer steps",
      stacklevel=3,
    )
