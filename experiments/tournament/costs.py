"""Count what each entry's update costs, relative to GRPO's.

    python -m experiments.tournament.costs

It traces the update of a rollout batch and counts the FLOPs of its matrix
products (experiments/hlo.py), without compiling or running anything. So the
numbers hold on every machine, whereas times are comparable only if the runs had
an idle machine. They are kept in results/costs.json, and the page reads them.
"""

from collections.abc import Mapping
import json
from pathlib import Path

from absl import flags
import jax
from ml_collections import ConfigDict as Config

from configs import load_method
from entrojax.assembly.lowering import trace_update
from entrojax.assembly.methods import make_recipe
from entrojax.assembly.model import make_model
from entrojax.system.command_line import command
from entrojax.system.sharding import make_mesh
from experiments import hlo
from experiments.model_sizes import sizes_of
from experiments.tournament.entries import Entry, entries
from experiments.tournament.options import define_results
from experiments.tournament.rule import BASELINE, BASES

FLAGS = flags.FlagValues()
_RESULTS = define_results(FLAGS)

_DIGITS = 3  # after the point, of a ratio


def config_of(entry: Entry, base: str) -> Config:
  """Return the settings of an entry's runs."""
  config = load_method(entry.method).get_config(BASES[base].words)
  config.update_from_flattened_dict(dict(entry.settings))
  return config


def update_flops(config: Config) -> int:
  """Count the FLOPs of the products of a rollout batch's update."""
  mesh = make_mesh(config.mesh, jax.devices()[:1])
  model = make_model(config, sizes_of(config.model.path), mesh)
  traced = trace_update(config, make_recipe(config), model, mesh)
  return hlo.needed_flops(traced.jaxpr, _shares(config)).total


def _shares(config: Config) -> tuple[float, ...]:
  """Return how often a projection corrects a step: (not, corrects)."""
  every = config.projection.every if config.projection.enabled else 1
  return (1 - 1 / every, 1 / every)


def costs(base: str) -> Mapping[str, float]:
  """Return each entry's FLOPs of an update relative to GRPO's at its budget."""
  own = [e for e in entries(base) if e.role in ("method", "extra")]
  whole = update_flops(config_of(Entry(BASELINE, BASELINE, 0), base))
  return {
    e.name: round(update_flops(config_of(e, base)) / whole, _DIGITS)
    for e in own
  }


def read_costs(folder: Path) -> Mapping[str, Mapping[str, float]]:
  """Read the kept costs: base -> entry -> FLOPs relative to GRPO's."""
  path = folder / "costs.json"
  return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


@command(FLAGS)
def main() -> None:
  """Count the costs on both bases and keep them."""
  own = {base: costs(base) for base in BASES}
  path = Path(_RESULTS.value) / "costs.json"
  path.write_text(json.dumps(own, indent=0) + "\n", encoding="utf-8")
  print(f"wrote {path}")


if __name__ == "__main__":
  main()
