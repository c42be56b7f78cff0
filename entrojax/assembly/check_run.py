"""Check a config as a run would, without loading weights or compiling.

A sweep checks all of its units in this way before the first one runs. If a run
is refused, `completing` adds everything else that it would be refused for.
"""

from collections.abc import Collection, Iterator
import contextlib
import functools
import warnings

from ml_collections import ConfigDict as Config
from ml_collections import FrozenConfigDict

from entrojax import control
from entrojax.assembly import sections
from entrojax.assembly.check_evaluation import check_evaluation
from entrojax.assembly.check_methods import check_methods
from entrojax.assembly.check_overrides import check_overrides
from entrojax.assembly.check_rows import check_divisibility
from entrojax.assembly.check_settings import check
from entrojax.assembly.check_sizes import check_against_model
from entrojax.assembly.check_values import check_kind, check_numbers
from entrojax.assembly.data import make_template, open_task, read_data
from entrojax.assembly.evaluation_sets import read_sets
from entrojax.assembly.methods import (
  check_over_run,
  make_advantage_rules,
  make_aggregation,
  make_controller,
  make_members,
  make_recipe,
  make_scheduled_optimizer,
)
from entrojax.assembly.model import model_folder
from entrojax.assembly.named_methods import clusters_are_read
from entrojax.assembly.own_methods import NO_METHODS, OwnMethods
from entrojax.models import DecoderConfig, hugging_face
from entrojax.system.refusals import REFUSALS, gathered
from entrojax.system.sharding import make_mesh, num_row_shards
from entrojax.types import Task

# Whether the data can be read does not depend on these settings, nor on the
# sections of the methods.
_NO_DATA = (
  *("seed", "num_rollout_steps", "mesh", "lora", "training", "optimizer"),
  *("objective", "advantage", "aggregation", "control", "projection"),
  *("checkpoint", "log", "ledger", "alarms", "faults"),
)


def check_run(
  config: Config,
  keys: Collection[str] = (),
  own: OwnMethods = NO_METHODS,
  task: Task | None = None,
) -> None:
  """Make the checks that entrojax.main makes before it loads the model.

  Args:
    config: the settings of the run.
    keys: the 'section.leaf' of each setting that was given by name, for which
      it would be an error to do nothing.
    own: functions that take the place of those that the config names.
    task: takes the place of the task that the config names.

  Raises:
    ValueError: the run would be refused; the message names all keys and files
      that it would be refused for.
  """
  check_kind(config)
  with gathered() as each:
    each(check_overrides, config, keys)
    if each(check_numbers, config):
      each(_check_values, config, own, task)


def _check_values(config: Config, own: OwnMethods, task: Task | None) -> None:
  """Make the checks that need finite numbers; see `check_run`."""
  with gathered() as each:
    fits = each(check, config, own)
    if each(make_mesh, config.mesh) and fits:
      shards = num_row_shards(make_mesh(config.mesh))
      each(check_divisibility, config, shards)
    methods_fit = fits or each(check_methods, config, own)
    if not (fits and each(_check_recipe, config, own)):
      each(_check_arguments, config, own, methods_fit)
    has_model = bool(config.model.path) and each(_read_sizes, config)
    if has_model and methods_fit:
      each(check_against_model, config, _read_sizes(config), own)
    if has_model and (fits or each(check_evaluation, config)):
      each(_check_inputs, config, task)
    elif task is None:
      each(open_task, config)


@contextlib.contextmanager
def completing(
  config: Config,
  keys: Collection[str] = (),
  own: OwnMethods = NO_METHODS,
  task: Task | None = None,
) -> Iterator[None]:
  """Add what else a run is refused for to an error of the block.

  Args:
    config: the settings of the run.
    keys: as in `check_run`.
    own: as in `check_run`.
    task: as in `check_run`.
  """
  try:
    yield
  except REFUSALS as error:
    with gathered() as each, warnings.catch_warnings():
      warnings.simplefilter("ignore")
      each.add(error)
      each(check_run, config, keys, own, task)


def _check_recipe(config: Config, own: OwnMethods) -> None:
  """Raise ValueError if the methods cannot be built or traced."""
  check_over_run(make_recipe(config, own), config)
  make_aggregation(config)


def _check_arguments(
  config: Config, own: OwnMethods, methods_fit: bool
) -> None:
  """Raise ValueError if arguments of methods or of the optimizer are wrong.

  Args:
    config: the settings of the run.
    own: functions that take the place of those that the config names.
    methods_fit: whether the methods passed `check_methods`.
  """
  with gathered() as each:
    each(make_aggregation, config)
    each(make_scheduled_optimizer, config.optimizer, control.no_control())
    if methods_fit and not own.members:
      each(make_members, config)
    if methods_fit and not own.rules:
      each(make_advantage_rules, config)
    if methods_fit and own.controller is None:
      each(make_controller, config)


def _read_sizes(config: Config) -> DecoderConfig:
  """Read the sizes of the model."""
  return hugging_face.read_config(model_folder(config.model.path))


def _check_inputs(config: Config, task: Task | None) -> None:
  """Raise ValueError if the prompts cannot be read."""
  folder = model_folder(config.model.path)
  with gathered() as each:
    if task is not None:
      each(lambda: read_sets(config, read_data(config, folder, task)))
    elif not each(lambda: _check_data(_data_settings(config))):
      each(make_template, config, folder)
      each(open_task, config)


def _data_settings(config: Config) -> FrozenConfigDict:
  """Return the settings that `_check_data` may depend on, hashable."""
  ignored = {*_NO_DATA, *sections.method_names()}
  settings = {key: config[key] for key in config if key not in ignored}
  rules = tuple(config.advantage) if clusters_are_read(config) else ()
  return FrozenConfigDict({**settings, "seed": 0, "advantage": rules})


@functools.lru_cache(maxsize=128)
def _check_data(config: FrozenConfigDict) -> None:
  """Read the data, once for all runs that have the same.

  Args:
    config: the settings that reading the data depends on.
  """
  read_sets(config, read_data(config, model_folder(config.model.path)))
