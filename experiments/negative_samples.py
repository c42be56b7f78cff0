"""Do right steps of wrong responses help? BCPG-NSA against BCPG.

    python -m experiments.negative_samples --output=runs/negative_samples

For each seed the base answers the training prompts once. On these rollouts
every method takes the same updates in the same order; they differ in beta
alone, what is left of the advantage of right steps in wrong responses, by the
task's exact oracle: 1 is BCPG, below is BCPG-NSA (arXiv 2505.14403). All are
judged by the same held-out prompts with the same random numbers.

The table has means over seeds and their standard errors; the verdict is on the
differences to BCPG at the same seed: at least two standard errors from 0.
Stopped, the same command goes on.
"""

from collections.abc import Mapping, Sequence
import copy
import json
import math
from pathlib import Path
import statistics

from absl import app, flags, logging
from ml_collections import ConfigDict as Config
from ml_collections import config_flags

from entrojax.collect import collect_with_progress
from entrojax.rollouts import recorded
from entrojax.train import train

BCPG = 1.0


def evaluations(workdir: Path) -> list[dict[str, float]]:
  """Returns the evaluations of a run, the base's first, by metric."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [
    {name.rpartition("/")[2]: x for name, x in row.items() if "val/" in name}
    for row in map(json.loads, lines)
    if any(name.startswith("val/") for name in row)
  ]


def run_seed(
  config: Config, folder: Path, betas: Sequence[float], epochs: float
) -> dict[float, list[dict[str, float]]]:
  """Runs all methods on the rollouts of one seed; returns their evaluations."""
  rollouts = folder / "rollouts.jsonl"
  collect_with_progress(config, rollouts, every=1.0)
  kept = len(recorded.read(rollouts).kept)
  config = copy.deepcopy(config)
  config.offline.rollouts = str(rollouts)
  config.num_rollout_steps = math.ceil(
    epochs * kept / config.rollout.num_prompts
  )
  config.optimizer.decay_steps = config.num_rollout_steps
  config.log.every = config.num_rollout_steps
  found = {}
  for beta in betas:
    config.negative_sample_augmentation.beta = beta
    workdir = folder / f"beta={beta:g}"
    if train(config, workdir) is not None:
      raise KeyboardInterrupt
    found[beta] = evaluations(workdir)
    accuracy = found[beta][-1]["pass@1"]
    print(
      f"seed {config.seed} beta {beta:g}: pass@1 {accuracy:.4f}", flush=True
    )
  print(f"updates of each: {config.num_rollout_steps}")
  return found


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
  """Returns mean and standard error; NaN of one value."""
  error = (
    statistics.stdev(values) / len(values) ** 0.5
    if len(values) > 1
    else math.nan
  )
  return statistics.fmean(values), error


def verdict(differences: Sequence[float]) -> str:
  """Says whether a method beats BCPG, by its differences at each seed."""
  mean, error = mean_and_error(differences)
  if not abs(mean) >= 2 * error or mean == 0:
    return "no difference seen"
  return "beats BCPG" if mean > 0 else "LOSES TO BCPG"


def table(found: Sequence[Mapping[float, list[dict[str, float]]]]) -> list[str]:
  """Returns the lines of the table; an entry of `found` a seed."""
  last = found[0][BCPG][-1]
  names = [n for n in last if n.startswith("pass@") and n[5:].isdigit()]
  names = [names[0], names[len(names) // 2], names[-1], "entropy"]
  rows = {"base": [runs[BCPG][0] for runs in found]}
  for beta in found[0]:
    label = "BCPG" if beta == BCPG else f"BCPG-NSA, beta {beta:g}"
    rows[label] = [runs[beta][-1] for runs in found]
  lines = [f"{'':<20}" + "".join(f"{name:>18}" for name in names)]
  for label, evaluated in rows.items():
    cells = [
      "{:.4f} ± {:.4f}".format(*mean_and_error([e[name] for e in evaluated]))
      for name in names
    ]
    lines.append(f"{label:<20}" + "".join(f"{cell:>18}" for cell in cells))
  for beta in found[0]:
    if beta != BCPG:
      gaps = [
        runs[beta][-1]["pass@1"] - runs[BCPG][-1]["pass@1"] for runs in found
      ]
      mean, error = mean_and_error(gaps)
      each = " ".join(f"{gap:+.4f}" for gap in gaps)
      lines.append(
        f"beta {beta:g} - BCPG, pass@1: {each}; mean {mean:+.4f} ± "
        f"{error:.4f}: {verdict(gaps)}"
      )
  return lines


def define_flags() -> None:
  """Defines what the command takes; importing this file defines nothing."""
  config_flags.DEFINE_config_file(
    "config", "configs/bcpg_nsa.py", "of all runs"
  )
  flags.DEFINE_string("output", None, "folder of all runs")
  flags.DEFINE_list("seeds", ["0", "1", "2"], "of rollouts and updates")
  flags.DEFINE_list("betas", ["1", "0.5", "-0.5"], "1 = BCPG")
  flags.DEFINE_float("epochs", 8.0, "passes over the rollouts")
  flags.mark_flag_as_required("output")


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  given = flags.FLAGS
  betas = [float(beta) for beta in given.betas]
  if BCPG not in betas:
    raise app.UsageError("--betas needs 1, BCPG")
  found = []
  for seed in given.seeds:
    config = copy.deepcopy(given.config)
    config.seed = int(seed)
    folder = Path(given.output) / f"seed={seed}"
    found.append(run_seed(config, folder, betas, given.epochs))
  print("\n".join(table(found)))


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  define_flags()
  app.run(main)
