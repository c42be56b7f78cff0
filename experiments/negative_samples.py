"""Compare BCPG-NSA with BCPG: does it help to spare right steps?

    python -m experiments.negative_samples --output=runs/negative_samples

For each seed the base answers the training prompts once. On these rollouts
every method makes the same updates in the same order. The methods differ only
in beta, the factor on the advantage of right steps in wrong responses: 1 is
BCPG, values below 1 are BCPG-NSA (arXiv 2505.14403). The task's exact oracle
judges the steps. All methods are evaluated on the same held-out prompts, with
the same random numbers.

The table has means over seeds and their standard errors. The verdict is taken
on the differences to BCPG for the same seed: at least two standard errors from
0. If the command is interrupted, run it again to resume.
"""

from collections.abc import Mapping, Sequence
import copy
import json
import math
from pathlib import Path
import statistics

from absl import flags
from ml_collections import ConfigDict as Config
from ml_collections import config_flags

from entrojax.assembly.offline import collect, progress_lines
from entrojax.rollouts import recorded
from entrojax.system.command_line import command
from entrojax.train import train

BCPG = 1.0  # the beta that makes no difference between steps

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  "configs/bcpg_nsa.py",
  "the settings that all runs share",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output", "", "the folder for all runs", flag_values=FLAGS
)
_SEEDS = flags.DEFINE_list(
  "seeds",
  ["0", "1", "2"],
  "seeds of the rollouts and updates",
  flag_values=FLAGS,
)
_BETAS = flags.DEFINE_list(
  "betas",
  ["1", "0.5", "-0.5"],
  "values of beta to compare; 1, which is BCPG, must be one of them",
  flag_values=FLAGS,
)
_EPOCHS = flags.DEFINE_float(
  "epochs", 8.0, "passes over the rollouts", flag_values=FLAGS
)

# the evaluations of one run, the base's first: metric -> value
Evaluations = list[dict[str, float]]


def read_evaluations(workdir: Path) -> Evaluations:
  """Read the evaluations of a run, the base's first, by metric."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [
    {name.rpartition("/")[2]: x for name, x in row.items() if "val/" in name}
    for row in map(json.loads, lines)
    if any(name.startswith("val/") for name in row)
  ]


def run_seed(
  config: Config, folder: Path, betas: Sequence[float], epochs: float
) -> dict[float, Evaluations]:
  """Run all methods on the rollouts of one seed.

  Args:
    config: the settings, with the seed.
    folder: where rollouts and runs are kept.
    betas: the methods.
    epochs: passes over the rollouts.

  Returns:
    beta -> the run's evaluations.
  """
  rollouts = folder / "rollouts.jsonl"
  for line in progress_lines(collect(config, rollouts), every=1.0):
    print(line, flush=True)
  num_groups = len(recorded.read(rollouts).kept)
  config = copy.deepcopy(config)
  config.offline.rollouts = str(rollouts)
  config.num_rollout_steps = math.ceil(
    epochs * num_groups / config.rollout.num_prompts
  )
  config.optimizer.decay_steps = config.num_rollout_steps
  config.log.every = config.num_rollout_steps
  evaluations = {}
  for beta in betas:
    config.negative_sample_augmentation.beta = beta
    workdir = folder / f"beta={beta:g}"
    if train(config, workdir) is not None:
      raise KeyboardInterrupt
    evaluations[beta] = read_evaluations(workdir)
    accuracy = evaluations[beta][-1]["pass@1"]
    print(
      f"seed {config.seed} beta {beta:g}: pass@1 {accuracy:.4f}", flush=True
    )
  print(f"updates of each method: {config.num_rollout_steps}")
  return evaluations


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
  """Return the mean and its standard error, NaN for a single value."""
  error = (
    statistics.stdev(values) / len(values) ** 0.5
    if len(values) > 1
    else math.nan
  )
  return statistics.fmean(values), error


def verdict(differences: Sequence[float]) -> str:
  """Judge a method by its differences to BCPG, one for each seed."""
  mean, error = mean_and_error(differences)
  if not abs(mean) >= 2 * error or mean == 0:
    return "no difference seen"
  return "beats BCPG" if mean > 0 else "LOSES TO BCPG"


def format_table(seeds: Sequence[Mapping[float, Evaluations]]) -> list[str]:
  """Format the lines of the table.

  Args:
    seeds: for each seed, beta -> the run's evaluations.
  """
  last = seeds[0][BCPG][-1]
  names = [n for n in last if n.startswith("pass@") and n[5:].isdigit()]
  names = [names[0], names[len(names) // 2], names[-1], "entropy"]
  rows = {"base": [runs[BCPG][0] for runs in seeds]}
  for beta in seeds[0]:
    label = "BCPG" if beta == BCPG else f"BCPG-NSA, beta {beta:g}"
    rows[label] = [runs[beta][-1] for runs in seeds]
  lines = [f"{'':<20}" + "".join(f"{name:>18}" for name in names)]
  for label, evaluations in rows.items():
    cells = [
      "{:.4f} ± {:.4f}".format(*mean_and_error([e[name] for e in evaluations]))
      for name in names
    ]
    lines.append(f"{label:<20}" + "".join(f"{cell:>18}" for cell in cells))
  lines += [_format_gaps(seeds, beta) for beta in seeds[0] if beta != BCPG]
  return lines


def _format_gaps(
  seeds: Sequence[Mapping[float, Evaluations]], beta: float
) -> str:
  """Format the differences in pass@1 to BCPG, and the verdict on them."""
  gaps = [runs[beta][-1]["pass@1"] - runs[BCPG][-1]["pass@1"] for runs in seeds]
  mean, error = mean_and_error(gaps)
  each = " ".join(f"{gap:+.4f}" for gap in gaps)
  return (
    f"beta {beta:g} - BCPG, pass@1: {each}; mean {mean:+.4f} ± {error:.4f}: "
    f"{verdict(gaps)}"
  )


@command(
  FLAGS,
  required=("output",),
  settings="configs/default.py",
  interrupted="Interrupted. Run the same command again to resume.",
)
def main() -> None:
  """Run all methods for all seeds and print the table."""
  betas = [float(beta) for beta in _BETAS.value]
  if BCPG not in betas:
    raise ValueError(
      f"--betas={','.join(_BETAS.value)} lacks 1, which is BCPG: the others "
      "are compared with it"
    )
  seeds = []
  for seed in _SEEDS.value:
    config = copy.deepcopy(_CONFIG.value)
    config.seed = int(seed)
    folder = Path(_OUTPUT.value) / f"seed={seed}"
    seeds.append(run_seed(config, folder, betas, _EPOCHS.value))
  print("\n".join(format_table(seeds)))


if __name__ == "__main__":
  main()
