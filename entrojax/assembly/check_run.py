"""Check a config as a run would, without loading weights or compiling.

A sweep checks all of its units in this way before the first one runs.
"""

from collections.abc import Collection
import functools

from ml_collections import ConfigDict as Config
from ml_collections import FrozenConfigDict

from entrojax.assembly import sections
from entrojax.assembly.check_methods import check_overrides, clusters_are_read
from entrojax.assembly.check_rows import check_divisibility
from entrojax.assembly.check_settings import check, check_kind
from entrojax.assembly.check_sizes import check_against_model
from entrojax.assembly.data import read_data
from entrojax.assembly.evaluation_sets import read_sets
from entrojax.assembly.methods import check_over_run, make_recipe
from entrojax.assembly.model import model_folder
from entrojax.models import hugging_face
from entrojax.system.sharding import make_mesh, num_row_shards

# Whether the data can be read does not depend on these settings, nor on the
# sections of the methods.
_NO_DATA = (
  *("seed", "num_rollout_steps", "mesh", "lora", "training", "optimizer"),
  *("objective", "advantage", "aggregation", "control", "projection"),
  *("checkpoint", "log", "ledger", "alarms", "faults"),
)


def check_run(config: Config, keys: Collection[str] = ()) -> None:
  """Make the checks that entrojax.main makes before it loads the model.

  Args:
    config: the settings of the run.
    keys: the 'section.leaf' of each setting that was given by name, for which
      it would be an error to do nothing.

  Raises:
    ValueError: the run would be refused; the message names the key or the file.
  """
  check_kind(config)
  check_overrides(config, keys)
  check(config)
  check_divisibility(config, num_row_shards(make_mesh(config.mesh)))
  check_over_run(make_recipe(config), config)
  folder = model_folder(config.model.path)
  check_against_model(config, hugging_face.read_config(folder))
  _check_data(_data_settings(config))


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
