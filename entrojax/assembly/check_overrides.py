"""Check that the settings on the command line have an effect."""

from collections.abc import Collection

from ml_collections import ConfigDict as Config

from entrojax.arguments import require
from entrojax.assembly import sections
from entrojax.assembly.named_methods import (
  clusters_are_read,
  controller_traits,
  has_target,
)
from entrojax.system.outside import last_name
from entrojax.system.refusals import gathered


def check_overrides(config: Config, keys: Collection[str]) -> None:
  """Check that settings on the command line have an effect.

  Args:
    config: the config, with the command line's settings in it.
    keys: the 'section.leaf' of each setting on the command line.

  Raises:
    ValueError: a setting of a method that is not chosen, a target without a
      controller that holds it, or the refilling of no slots would do nothing.
      The message names them all.
  """
  chosen = (*config.objective, *config.advantage, config.control.name)
  enabled = set(map(last_name, chosen))
  if clusters_are_read(config):
    enabled.add("clusters")
  if config.offline.enabled:
    enabled |= set(map(last_name, (*config.judges, config.segmentation.name)))
  switches = {
    "dynamic_sampling.enabled": config.dynamic_sampling.enabled,
    "projection.enabled": config.projection.enabled,
    "curriculum.table": config.curriculum.table,
    "offline.enabled": config.offline.enabled,
  }
  switched = {key: key.partition(".")[0] for key in switches}
  enabled |= {switched[key] for key, on in switches.items() if on}
  methods = {"clusters", *switched.values(), *sections.method_names()}
  with gathered() as each:
    each(
      require,
      "control.target" not in keys or not _drives_blindly(config),
      f"control.target is set and would do nothing: control.name = "
      f"{config.control.name!r} holds no entropy",
    )
    each(
      require,
      "rollout.refill_every" not in keys or config.rollout.num_slots > 0,
      "rollout.refill_every is set and would do nothing: rollout.num_slots is "
      "0, so that no slot is refilled",
    )
    for key in keys:
      section, _, leaf = key.partition(".")
      each(
        require,
        not leaf or section not in methods - enabled or key in switches,
        f"{key} is set and would do nothing: {section!r} is not part of "
        f"advantage = {tuple(config.advantage)}, objective = "
        f"{tuple(config.objective)} or control.name = {config.control.name!r}",
      )


def _drives_blindly(config: Config) -> bool:
  """Return whether the controller drives a member, and has no target.

  If it drives nothing, `check_methods` refuses a target.
  """
  traits = controller_traits(config)
  drives = traits is None or bool(traits.drives)
  return drives and not has_target(config)
