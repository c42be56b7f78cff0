r"""Measure how the cost of a rollout step grows, and write the page.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 \
        python -m experiments.scaling --measure=counts
    python -m experiments.scaling --measure=times
    python -m experiments.scaling --measure=processes
    python -m experiments.scaling

Without --measure, only README.md is written, from the lines that are kept. An
interrupted command resumes with the points that are missing.
"""

from pathlib import Path

from absl import flags

from entrojax.system.command_line import command
from experiments.scaling import lines

FLAGS = flags.FlagValues()
_MEASURE = flags.DEFINE_enum(
  "measure",
  None,
  [lines.COUNTS, lines.TIMES, lines.PROCESSES],
  "what to measure first",
  flag_values=FLAGS,
)
_REPEATS = flags.DEFINE_integer(
  "repeats",
  3,
  "timed turns of --measure=times",
  lower_bound=1,
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output",
  str(Path(__file__).parent),
  "the folder of results.jsonl and README.md",
  flag_values=FLAGS,
)


@command(FLAGS)
def main() -> None:
  """Measure what is missing, and write the page."""
  # imported here, so that --help does not wait
  from experiments.scaling.page import page

  folder = Path(_OUTPUT.value)
  kept = folder / "results.jsonl"
  if _MEASURE.value:
    _measure(_MEASURE.value, kept)
  (folder / "README.md").write_text(page(lines.read(kept)) + "\n")
  print(f"wrote {folder / 'README.md'}")


def _measure(kind: str, path: Path) -> None:
  """Measure the points that have no line yet."""
  from experiments.scaling import counts, several_processes, times
  from experiments.scaling.points import points

  kept = lines.read(path)
  if kind == lines.PROCESSES:
    for number in several_processes.numbers_here():
      if not lines.has(kept, kind, "processes", number):
        costs = several_processes.cost_of_processes(number)
        lines.append(path, kind, "processes", number, costs)
    return
  for point in points(timed=kind == lines.TIMES):
    if lines.has(kept, kind, point.axis, point.value):
      continue
    if kind == lines.COUNTS:
      costs = counts.count(point)
    else:
      costs = times.time_parts(point, _REPEATS.value)
    lines.append(path, kind, point.axis, point.value, costs)
    print(f"{point.axis} = {point.value}", flush=True)


if __name__ == "__main__":
  main()
