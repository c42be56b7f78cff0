"""How well can the entropy change of an optimizer step be predicted?

    python -m experiments.ledger --methods=grpo,clip_higher,entropic,projection

Each method trains from the base with each seed, as the first rollout steps of
the demo do. Its ledger has an entry in every rollout step after the first
eight, in which Adam's moments form. The entries of all seeds are taken
together. For each method and each column of tokens (own, held back, fresh) the
table has the measured change of the entropy and its first-order prediction, in
1e-4 nats per token and optimizer step, ± the standard error over entries. Then
come the slope of measured on predicted changes, and the correlations of five
predictions with the measured change.

The method `sgd` is GRPO with plain gradient descent in small steps: an Adam
without momentum whose eps of 1,000 is far above its moments, so that a step is
0.001 times the gradient.

The last lines have the time of an entry and of a rollout step, and how much
longer a run takes with an entry every 10 rollout steps.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict as Config
import numpy as np

from entrojax.reporting import ledger_sections
from entrojax.reporting.run_logs import RunLog, read_run, series
from entrojax.reporting.variants import Variant
from entrojax.system.command_line import command
from entrojax.train import train
from experiments.methods import BASELINE, method_config

FLAGS = flags.FlagValues()
_METHODS = flags.DEFINE_list(
  "methods",
  ["grpo", "sgd", "clip_higher", "entropic", "projection"],
  "names of configs, or sgd",
  flag_values=FLAGS,
)
_SEEDS = flags.DEFINE_list(
  "seeds", ["0", "1", "2"], "seeds of the runs", flag_values=FLAGS
)
_ENTRIES = flags.DEFINE_integer(
  "entries", 36, "entries of each run", lower_bound=3, flag_values=FLAGS
)
_OUTPUT = flags.DEFINE_string(
  "output", "runs/ledger", "the folder for all runs", flag_values=FLAGS
)

FIRST_STEPS = 8  # rollout steps that are not counted
SGD = {"b1": 0.0, "eps": 1e3, "learning_rate": 1.0, "decay_steps": 0}


def ledger_config(method: str, seed: int, num_entries: int) -> Config:
  """Return the settings of a run with a ledger.

  Args:
    method: the name of a config, or sgd.
    seed: the seed of the run.
    num_entries: entries after the first rollout steps.
  """
  config = method_config(BASELINE if method == "sgd" else method)
  config.seed = seed
  decay_steps = int(config.optimizer.decay_steps)  # of the whole demo
  # an entry is logged one rollout step after the update that it measures
  config.num_rollout_steps = FIRST_STEPS + num_entries + 1
  config.optimizer.decay_steps = decay_steps
  config.ledger.every = 1
  config.evaluation.update(
    {"split": "validation[:1]", "num_samples": 1, "token_samples": 0}
  )
  if method == "sgd":
    config.optimizer.update(SGD)
  return config


def late_entries(run: RunLog) -> RunLog:
  """Leave out the entries of the first rollout steps."""
  rows = [r for r in run.rows if r["rollout_step"] > FIRST_STEPS + 1]
  return RunLog(run.name, run.path, rows, run.config)


def format_method(variant: Variant) -> list[str]:
  """Format a line for each column of a method."""
  lines = []
  for column, title in ledger_sections.TITLES.items():
    entries = {
      name: ledger_sections.of_variant(variant, name, column)
      for name in ("measured", *ledger_sections.PREDICTIONS)
    }
    measured = entries["measured"]
    slope, error, _ = ledger_sections.agreement(
      entries["first_order"], measured
    )
    means = (
      f"{_mean(entries[name]):+9.2f} ± {_error(entries[name]):5.2f}"
      for name in ("measured", "first_order")
    )
    correlations = (
      f"{ledger_sections.agreement(entries[name], measured)[2]:9.3f}"
      for name in ledger_sections.PREDICTIONS
    )
    lines.append(
      f"{variant.name:<13}{title:<17}{np.isfinite(measured).sum():4d}"
      f"{''.join(means)}{slope:8.3f} ± {error:5.3f}{''.join(correlations)}"
    )
  return lines


def format_time(runs: Sequence[RunLog]) -> str:
  """Compare the time of an entry with the time of a rollout step."""

  def median(name: str) -> float:
    values = np.concatenate([series(run, name)[1] for run in runs])
    return float(np.median(values))

  entry = median("timing_s/ledger")
  step = median("timing_s/step") - entry
  return (
    f"an entry takes {entry:.3f} s, a rollout step without it {step:.3f} s: "
    f"every 10 rollout steps, {1 + entry / (10 * step):.2f} x the time"
  )


def _mean(values: np.ndarray) -> float:
  return 1e4 * float(np.nanmean(values))


def _error(values: np.ndarray) -> float:
  finite = values[np.isfinite(values)]
  return 1e4 * float(finite.std(ddof=1) / finite.size**0.5)


@command(FLAGS)
def main() -> None:
  """Train all methods and print the table."""
  print(
    f"{'method':<13}{'tokens':<17}{'':4}{'measured':>17}{'first order':>17}"
    f"{'slope':>16}{'first o.':>9}{'trapez.':>9}{'Simpson':>9}"
    f"{'cov':>9}{'weighted':>9}",
    flush=True,
  )
  times = []
  for method in _METHODS.value:
    runs = []
    for seed in map(int, _SEEDS.value):
      workdir = Path(_OUTPUT.value) / f"{method},seed={seed}"
      config = ledger_config(method, seed, _ENTRIES.value)
      if saved := train(config, workdir):
        raise SystemExit(
          f"Interrupted. Saved {saved}. Run the same command again to resume."
        )
      runs.append(late_entries(read_run(workdir.name, workdir)))
    print("\n".join(format_method(Variant(method, tuple(runs)))), flush=True)
    times.append(f"{method}: {format_time(runs)}")
  print("\n".join(times))


if __name__ == "__main__":
  main()
