"""Check the values of a config before anything is loaded.

There is a check for each use of a config that samples training prompts:
training (`check`), collecting rollouts (`check_offline`), and sampling alone
(`check_sampling`). Evaluations and supervised learning have their own modules.
`check` calls `check_methods`, too. Checks that do not depend on each other all
run, and one error has all that they refuse (refusals.py). Most names and
arguments of methods are checked later, when methods.py builds the methods.
"""

import re
import warnings

from ml_collections import ConfigDict as Config

from entrojax.arguments import require, require_one_of
from entrojax.assembly.check_evaluation import check_evaluation
from entrojax.assembly.check_methods import check_methods
from entrojax.assembly.check_sizes import (
  check_batch_sizes,
  warn_of_shared_problems,
)
from entrojax.assembly.check_values import (
  check_at_least,
  check_buckets,
  check_numbers,
  setting,
)
from entrojax.assembly.evaluation_sets import requested
from entrojax.assembly.own_methods import NO_METHODS, OwnMethods
from entrojax.assembly.roll_backs import changed_by_roll_back
from entrojax.reporting.alarms import ACTIONS, ROLL_BACK, WATCHED
from entrojax.rollouts.dynamic_sampling import ON_EXHAUSTED
from entrojax.rollouts.evaluation import ks_of
from entrojax.system.refusals import gathered


def check(config: Config, own: OwnMethods = NO_METHODS) -> None:
  """Check the config of a training run.

  Args:
    config: the settings of the run.
    own: functions that take the place of those that the config names.

  Raises:
    ValueError: values cannot work, or contradict each other; the message names
      the keys.
  """
  check_numbers(config)
  with gathered() as each:
    fits = each(check_evaluation, config)
    each(_check_task, config)
    fits &= each(check_at_least, config, _LEAST)
    fits &= each(_check_rollout, config)
    each(_check_log, config)
    each(_check_alarms, config)
    each(_check_roll_back, config, own)
    each(
      require_one_of, "faults.reward", config.faults.reward, ("zero", "raise")
    )
    if config.offline.enabled:
      each(_check_recording, config)
    each(_check_signals, config)
    if fits:
      each(_check_best, config)
      each(_check_token_samples, config)
    if fits:
      each(_check_response_buckets, config)
      each(check_batch_sizes, config)
      each(warn_of_shared_problems, config)
    each(check_methods, config, own)


_LEAST = {  # the least values of a training run's settings
  "lora.rank": 0,
  "num_rollout_steps": 1,
  "rollout.num_prompts": 1,
  "dynamic_sampling.max_batches": 1,
  "training.updates_per_rollout": 1,
  "training.num_epochs": 1,
  "training.num_microbatches": 1,
  "evaluation.every": 0,
  "evaluation.token_samples": 0,
  "checkpoint.every": 0,
  "checkpoint.minutes": 0,
  "checkpoint.keep": 1,
  "log.every": 1,
  "log.samples": 0,
  "log.token_groups": 0,
  "ledger.every": 0,
  "alarms.window": 1,
  "faults.max_in_a_row": 1,
}


def _check_rollout(config: Config) -> None:
  """Raise ValueError if training cannot learn from such rollouts."""
  rollout = config.rollout
  with gathered() as each:
    each(
      require,
      rollout.group_size >= 2,
      f"rollout.group_size must be at least 2, got {rollout.group_size}: one "
      "response has no baseline",
    )
    each(
      require,
      rollout.temperature > 0,
      f"rollout.temperature must be above 0, got {rollout.temperature}: "
      "training samples cannot be greedy",
    )


def _check_log(config: Config) -> None:
  """Raise ValueError if what a run is to keep of its steps cannot be kept."""
  kept, last = tuple(config.log.keep_batches), config.num_rollout_steps
  every = config.ledger.every
  with gathered() as each:
    each(
      require,
      all(isinstance(step, int) and step >= 1 for step in kept),
      f"log.keep_batches = {kept!r}; expected rollout steps, from 1",
    )
    late = [step for step in kept if isinstance(step, int) and step > last]
    each(
      require,
      not late,
      f"log.keep_batches = {kept!r} names the rollout step {late[:1]}, and the "
      f"run ends after num_rollout_steps = {last}",
    )
    each(
      require,
      not every or every < last,
      f"ledger.every = {every} would do nothing: an entry is opened after so "
      "many rollout steps and logged with the next one, and the run ends after "
      f"num_rollout_steps = {last}",
    )
    each(
      require,
      not (every and config.model.fused_attention),
      f"ledger.every = {every} and model.fused_attention is "
      "True: the ledger transposes gradients, and fused kernels cannot be "
      "transposed; turn one of them off",
    )


def _check_alarms(config: Config) -> None:
  """Raise ValueError if an alarm has an unknown action, or a roll-back none."""
  actions = [config.alarms[name] for name in WATCHED]
  with gathered() as each:
    each(
      require,
      ROLL_BACK in actions or not config.alarms.roll_back,
      f"alarms.roll_back = {config.alarms.roll_back!r} would do nothing: set "
      f"an alarm, such as alarms.collapse, to '{ROLL_BACK}'",
    )
    for name in WATCHED:
      each(require_one_of, f"alarms.{name}", config.alarms[name], ACTIONS)


def _check_roll_back(config: Config, own: OwnMethods) -> None:
  """Check what a roll-back would leave."""
  if (changed := changed_by_roll_back(config)) is not None:
    check(changed, own)


def _check_token_samples(config: Config) -> None:
  """Raise ValueError if more samples are to be kept than any set has."""
  kept = config.evaluation.token_samples
  most = max(request.num_samples for request in requested(config))
  if kept > most:
    raise ValueError(
      f"evaluation.token_samples = {kept} is more than the {most} samples of "
      "an evaluation (evaluation.num_samples)"
    )


def _check_best(config: Config) -> None:
  """Raise ValueError if a best checkpoint is wanted and nothing finds one."""
  best = config.checkpoint.keep_best
  at_k = re.search(r"/(pass|maj)@(\d+)$", best or "")
  if at_k:
    label = best[: at_k.start()].removeprefix("val/")
    sets = requested(config)
    sets = [each for each in sets if each.name == label] or sets
    ks = sorted({k for each in sets for k in ks_of(each.num_samples)})
    if int(at_k[2]) not in ks:
      raise ValueError(
        f"checkpoint.keep_best = {best!r} is no metric of the evaluations: "
        f"they have {at_k[1]}@k for k = {', '.join(map(str, ks))}"
      )
  if best and not config.evaluation.every:
    raise ValueError(
      f"checkpoint.keep_best = {best!r} and evaluation.every is 0: a run that "
      "is evaluated at its ends only has no best checkpoint to keep"
    )


def _check_signals(config: Config) -> None:
  """Check what measures the policy; warn where two measures differ."""
  sampling = config.dynamic_sampling
  low, high = sampling.low, sampling.high
  with gathered() as each:
    each(
      require_one_of,
      "control.signal",
      config.control.signal,
      ("policy", "batch"),
    )
    each(
      require,
      sampling.on_exhausted in ON_EXHAUSTED,
      f"dynamic_sampling.on_exhausted must be one of {ON_EXHAUSTED}, got "
      f"{sampling.on_exhausted!r}",
    )
    each(
      require,
      0 <= low < high <= 1,
      f"dynamic_sampling.low = {low} and high = {high} must be mean rewards "
      "with 0 <= low < high <= 1",
    )
  for leaf in ("temperature", "top_k", "top_p"):
    trained, evaluated = config.rollout[leaf], config.evaluation[leaf]
    if evaluated is not None and evaluated != trained:
      warnings.warn(
        f"evaluation.{leaf} is {evaluated} and rollout.{leaf} is {trained}: "
        "evaluations measure another policy than the one that is trained, and "
        "their entropies differ",
        stacklevel=3,
      )


def _check_response_buckets(config: Config) -> None:
  """Raise ValueError if training.response_buckets cannot work."""
  key = "training.response_buckets"
  check_buckets(config, key, "rollout.response_length")
  buckets = tuple(config.training.response_buckets)
  if buckets and config.training.num_microbatches == 1:
    raise ValueError(
      f"{key} = {buckets} sorts rows into micro-batches by length, and "
      "training.num_microbatches is 1: raise it, or leave the buckets out"
    )


def check_offline(config: Config) -> None:
  """Check a config from which rollouts are collected, without training.

  Raises:
    ValueError: values cannot work; the message names the keys.
  """
  with gathered() as each:
    each(check_evaluation, config)
    each(_check_task, config)
    each(_check_recording, config)


def check_sampling(config: Config) -> None:
  """Check a config whose training prompts are sampled, without training.

  Raises:
    ValueError: values cannot work; the message names the keys.
  """
  with gathered() as each:
    each(check_evaluation, config)
    each(_check_task, config)
    each(check_at_least, config, {"rollout.num_prompts": 1})
    each(_check_rollout, config)


def _check_task(config: Config) -> None:
  """Raise ValueError if there is no task."""
  if not config.task.name:
    raise ValueError("task.name is not set")


def _check_recording(config: Config) -> None:
  """Raise ValueError if settings rule out recorded rollouts."""
  with gathered() as each:
    each(
      check_at_least,
      config,
      {"rollout.num_prompts": 1, "offline.num_prompts": 1},
    )
    for key in ("dynamic_sampling.enabled", "curriculum.table"):
      value = setting(config, key)
      each(
        require,
        not value,
        f"{key} is {value} and offline.enabled is True: recorded rollouts are "
        "sampled only once, and from all prompts alike",
      )
