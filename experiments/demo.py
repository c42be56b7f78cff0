"""Train GRPO and an entropy-controlled run from one base, and compare them.

    python -m experiments.demo

Both runs have the same base, seed and budget, and keep a ledger of where the
entropy goes, which changes nothing in a run. The command prints a table and
checks six claims about it, and writes a report with pictures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
import shlex
import time
from typing import TYPE_CHECKING

from absl import flags

from configs import entropic, grpo
from entrojax.system.command_line import command

if TYPE_CHECKING:
  from entrojax.reporting.differences import Interval
  from entrojax.reporting.variants import Variant

FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
  "output",
  "runs/demo",
  "the folder for both runs and the report",
  flag_values=FLAGS,
)

RUNS = {"grpo": grpo.get_config, "entropic": entropic.get_config}
TARGET = 0.36  # nats per token, 70 % of the base's entropy
LEDGER_EVERY = 20  # rollout steps; entries then cost a few percent of the time


@command(
  FLAGS,
  interrupted=(
    "Interrupted, without saving. Run the same command again to resume from "
    "the last checkpoint."
  ),
)
def main() -> None:
  """Train both runs and write the report."""
  # imported here, so that --help and a wrong flag do not wait for it
  from entrojax.report import format_table, write_report
  from entrojax.reporting.differences import compare
  from entrojax.reporting.run_logs import read_run
  from entrojax.reporting.variants import group_runs
  from entrojax.train import train

  output, started = Path(_OUTPUT.value), time.monotonic()
  workdirs = {name: output / name for name in RUNS}
  for name, get_config in RUNS.items():
    settings: dict[str, float] = {"ledger.every": LEDGER_EVERY}
    if name != "grpo":
      settings["control.target"] = TARGET
    command = [
      *("python", "-m", "entrojax.main", f"--config=configs/{name}.py:demo"),
      f"--workdir={workdirs[name]}",
      *(f"--config.{key}={value}" for key, value in settings.items()),
    ]
    print(f"\n{name}: {shlex.join(command)}", flush=True)
    config = get_config("demo")
    config.update_from_flattened_dict(settings)
    saved = train(config, workdirs[name], command=command)
    if saved is not None:
      raise SystemExit(
        f"Interrupted. Saved {saved}. Run the same command again to resume."
      )
  report = output / "report.html"
  rows = write_report(workdirs, report, title="GRPO against EntroPIC").rows
  variants = group_runs([read_run(n, path) for n, path in workdirs.items()])
  draw_pictures(variants, output)
  print(f"\n{format_table(rows)}\n")
  baseline, controlled = range(len(RUNS))
  *_, ahead = compare(variants, controlled, baseline, "countdown").intervals
  claims = check_claims(rows["grpo"], rows["entropic"], ahead)
  for claim, holds in claims.items():
    print(f"{'holds' if holds else 'DOES NOT HOLD':>13}: {claim}")
  print(f"\nreport: {report}  ({time.monotonic() - started:.0f} s in all)")


def check_claims(
  grpo_row: Mapping[str, float],
  controlled: Mapping[str, float],
  ahead: "Interval",
) -> dict[str, bool]:
  """Check the claims that the demo makes.

  Args:
    grpo_row: the summary of GRPO's run, by metric.
    controlled: the summary of the entropy-controlled run, by metric.
    ahead: how much more pass@64 the controlled run ends with, paired by prompt.

  Returns:
    claim, with its figures -> whether it holds.
  """
  start, end = (f"val/countdown/pass@64/{when}" for when in ("start", "end"))
  first, last = (f"val/countdown/pass@1/{when}" for when in ("start", "end"))
  target = controlled["entropy/target"]
  before, after = (f"val/countdown/entropy/{w}" for w in ("start", "end"))
  lost = 1 - grpo_row[after] / grpo_row[before]
  fall = grpo_row[start] - grpo_row[end]
  gain = grpo_row[last] - grpo_row[first]
  kept = (controlled[last] - controlled[first]) / gain if gain > 0 else 0.0
  deviation = controlled["entropy/max_deviation"] / target
  return {
    f"GRPO loses at least half of its entropy on held-out prompts "
    f"({lost:.0%})": lost >= 0.5,
    f"GRPO loses at least 0.10 of pass@64 ({fall:.3f})": fall >= 0.10,
    f"GRPO's pass@1 rises ({gain:+.3f})": gain > 0,
    f"over its last third the controlled run stays within 20 % of its target "
    f"(at most {deviation:.0%} off)": deviation <= 0.2,
    f"it keeps at least half of GRPO's gain in pass@1 ({kept:.0%})": kept
    >= 0.5,
    f"it ends above GRPO in pass@64 ({ahead.mean:+.3f}, 95 % interval "
    f"{ahead.low:+.3f} to {ahead.high:+.3f})": ahead.low > 0,
  }


def draw_pictures(variants: "Sequence[Variant]", output: Path) -> None:
  """Draw the two pictures of the README into the output folder."""
  from entrojax.reporting import figures
  from entrojax.reporting.static import to_svg

  names = [variant.name for variant in variants]
  pictures = {
    "entropy": figures.draw_metric(
      variants,
      metric="actor/entropy",
      label="policy entropy (nats per token)",
      smoothing=0.02,
      targets=True,
    ),
    "pass_at_k": figures.draw_at_k(variants, data="countdown"),
  }
  for name, picture in pictures.items():
    if picture is not None:
      (output / f"{name}.svg").write_text(to_svg(picture, names))


if __name__ == "__main__":
  main()
