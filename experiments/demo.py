"""The demo: GRPO and an entropy-controlled run from one base, compared.

    python -m experiments.demo

Same base, same seed, same budget. Ends with a table and a report.
"""

from collections.abc import Sequence
import os
from pathlib import Path
import shlex
import time

from absl import app, flags, logging

from configs import entropic, grpo

_OUTPUT = flags.DEFINE_string("output", "runs/demo", "the folder of the runs")

RUNS = {"grpo": grpo.get_config, "entropic": entropic.get_config}


def main(argv: Sequence[str]) -> None:
  del argv
  os.environ.setdefault("NO_GCE_CHECK", "true")
  from entrojax.report import format_table, write_report
  from entrojax.train import train

  output, started = Path(_OUTPUT.value), time.monotonic()
  workdirs = {name: output / name for name in RUNS}
  commands = {}
  for name, get_config in RUNS.items():
    commands[name] = shlex.join(
      [
        "python -m entrojax.main",
        f"--config=configs/{name}.py:demo",
        f"--workdir={workdirs[name]}",
      ]
    ).replace("'", "")
    print(f"\n{name}: {commands[name]}", flush=True)
    saved = train(get_config("demo"), workdirs[name])
    if saved is not None:
      raise SystemExit(f"interrupted; saved {saved}; run it again to go on")
  report = output / "report.html"
  rows = write_report(
    workdirs, report, title="GRPO against EntroPIC", commands=commands
  )
  print(f"\n{format_table(rows)}\n")
  print(f"report: {report}  ({time.monotonic() - started:.0f} s in all)")


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  app.run(main)
