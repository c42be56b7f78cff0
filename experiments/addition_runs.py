"""Keep, draw and tabulate runs of SmolLM2-135M on sums.

    python -m experiments.addition_runs --runs=runs/addition

configs/sweeps/addition.py makes the runs. Of each finished run the command
keeps a line in experiments/addition_runs.jsonl: the entropy, the reward and the
share of responses that are cut off in every rollout step, all evaluations, and
the answers that the run wrote last. It then draws all kept runs into
experiments/figures/addition.svg, and prints their table. Without --runs it
draws and prints what is kept.

A row of the table is a run. The entropy of rollouts and the share of responses
that are cut off are means over the first three rollout steps and over the last
third. pass@k is of held-out problems before and after training, with the
standard error over problems.
"""

from collections.abc import Iterable, Mapping, Sequence
import json
from pathlib import Path
from typing import Any

from absl import flags
import numpy as np

from entrojax.reporting.find_runs import find_runs
from entrojax.reporting.formatting import align
from entrojax.reporting.pictures import (
  OPTIMIZER_STEP,
  Panel,
  Picture,
  metric_curves,
  picture,
)
from entrojax.reporting.run_logs import (
  METRICS_FILE,
  RunLog,
  evaluations,
  read_run,
  series,
)
from entrojax.reporting.static import to_svg
from entrojax.reporting.variants import Variant
from entrojax.system.command_line import command

FOLDER = Path(__file__).parent
DATA = "math"  # the data set, as in val/math/pass@1
ENTROPY, REWARD = "rollout/entropy", "critic/rewards/mean"
CUT_OFF = "response_length/clip_ratio"  # share of responses without an end
BARE = "name=math_number"  # in the names of runs that are judged by it
KS = (1, 4, 16)
CURVES = {
  ENTROPY: "entropy (nats per token)",
  "val/math/pass@1": "pass@1, held out",
  "val/math/pass@16": "pass@16, held out",
}

FLAGS = flags.FlagValues()
_RUNS = flags.DEFINE_string(
  "runs", "", "the folder of the runs to keep", flag_values=FLAGS
)
_KEPT = flags.DEFINE_string(
  "kept",
  str(FOLDER / "addition_runs.jsonl"),
  "the file of kept runs",
  flag_values=FLAGS,
)
_PICTURE = flags.DEFINE_string(
  "picture",
  str(FOLDER / "figures" / "addition.svg"),
  "the SVG file to write",
  flag_values=FLAGS,
)

Line = Mapping[str, Any]


def is_finished(run: RunLog) -> bool:
  """Return whether a run has its last evaluation."""
  _, last = evaluations(run, DATA)
  return (
    last is not None and last["rollout_step"] == run.config["num_rollout_steps"]
  )


def line_of(run: RunLog) -> Line:
  """Return what is kept of a finished run."""
  names = (ENTROPY, REWARD, CUT_OFF, f"val/{DATA}/entropy")
  scores = (f"val/{DATA}/pass@", f"val/{DATA}/maj@")
  rows = [
    {
      name: value
      for name, value in row.items()
      if name in ("step", *names) or name.startswith(scores)
    }
    for row in run.rows
  ]
  last = run.samples[-1]["rollout_step"]
  samples = [
    {key: row[key] for key in ("prompt", "response", "reward")}
    for row in run.samples
    if row["rollout_step"] == last
  ]
  method, _, rest = run.name.partition(",")
  words = rest.split(",")
  targets = [word.partition("=")[2] for word in words if "target=" in word]
  bare = ["bare"] if BARE in words else []
  name = ", ".join([method, *(f"target {t}" for t in targets), *bare])
  return {"name": name, "seed": run.seed, "rows": rows, "samples": samples}


def read_kept(path: Path) -> dict[tuple[str, int], Line]:
  """Read the kept runs, by name and seed; without the file there are none."""
  texts = path.read_text().splitlines() if path.is_file() else []
  lines = [json.loads(text) for text in texts]
  return {(line["name"], line["seed"]): line for line in lines}


def as_variants(lines: Iterable[Line]) -> list[Variant]:
  """Put the runs of each method together."""
  runs: dict[str, list[RunLog]] = {}
  for line in lines:
    run = RunLog(line["name"], Path(), line["rows"], {"seed": line["seed"]})
    runs.setdefault(line["name"], []).append(run)
  return [Variant(name, tuple(own)) for name, own in runs.items()]


def draw(variants: Sequence[Variant]) -> Picture | None:
  """Draw entropy and pass@k over training, a panel for each."""
  panels = [
    Panel(
      label,
      metric_curves(
        variants,
        metric,
        smoothing=0.1 if metric == ENTROPY else 0.0,
        dots=metric != ENTROPY,
      ),
    )
    for metric, label in CURVES.items()
  ]
  return picture(panels, OPTIMIZER_STEP)


def row_of(run: RunLog) -> list[str]:
  """Return the cells of a run's row."""
  cells = [f"{run.name}, seed {run.seed}"]
  for metric in (ENTROPY, CUT_OFF):
    values = series(run, metric)[1]
    third = values.size // 3
    before, after = np.mean(values[:3]), np.mean(values[-third:])
    cells.append(f"{before:.3f} -> {after:.3f}")
  first, last = (row or {} for row in evaluations(run, DATA))
  for k in KS:
    name = f"val/{DATA}/pass@{k}"
    error = last[f"{name}_stderr"]
    cells.append(f"{first[name]:.3f} -> {last[name]:.3f} ± {error:.3f}")
  return cells


def table(variants: Sequence[Variant]) -> str:
  """Format the table of all kept runs."""
  names = ["entropy", "cut off", *(f"pass@{k}" for k in KS)]
  rows = [row_of(run) for variant in variants for run in variant.runs]
  return align(names, rows, width=140)


@command(FLAGS)
def main() -> None:
  """Keep the finished runs of the folder, and show all kept ones."""
  path = Path(_KEPT.value)
  kept = read_kept(path)
  places = find_runs([_RUNS.value]) if _RUNS.value else {}
  for name, place in places.items():
    has_begun = (place / METRICS_FILE).is_file()
    run = read_run(name, place) if has_begun else None
    if run is not None and is_finished(run):
      line = line_of(run)
      kept[line["name"], line["seed"]] = line
    else:
      print(f"{name}: not finished, left out")
  lines = [kept[key] for key in sorted(kept)]
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))
  variants = as_variants(lines)
  curves = draw(variants)
  if curves is not None:
    names = [variant.name for variant in variants]
    Path(_PICTURE.value).write_text(to_svg(curves, names))
  print(table(variants))


if __name__ == "__main__":
  main()
