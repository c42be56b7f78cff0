"""The command: runs a config in a work directory.

    python -m entrojax.main --config=configs/countdown.py --workdir=runs/x \
        --config.optimizer.learning_rate=1e-4
"""

from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from entrojax.system.command_line import (
  EXIT_INTERRUPTED,
  command,
  define_process_flags,
  join_processes,
  parse_flags,
)

_CONFIG = config_flags.DEFINE_config_file("config", None, "the run's settings")
_WORKDIR = flags.DEFINE_string("workdir", None, "the run directory")
_RESUME = flags.DEFINE_bool(
  "resume", True, "go on from the newest checkpoint of the work directory"
)
define_process_flags()


@command("interrupted unsaved; the same command goes on from its last save")
def main() -> int:
  """Trains; returns the exit status."""
  join_processes()
  from entrojax.assembly.check_methods import check_overrides
  from entrojax.assembly.check_settings import check_kind
  from entrojax.system.hosts import is_first
  from entrojax.train import train

  workdir = Path(str(_WORKDIR.value))
  check_kind(_CONFIG.value)
  check_overrides(
    _CONFIG.value, config_flags.get_override_values(flags.FLAGS["config"])
  )
  saved = train(_CONFIG.value, workdir, resume=_RESUME.value)
  if saved is not None:
    print(f"interrupted; saved {saved}; the same command goes on from there")
    return EXIT_INTERRUPTED
  if is_first():
    print(f"done: {workdir / 'metrics.jsonl'}")
  return 0


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  flags.mark_flags_as_required(["config", "workdir"])
  app.run(main, flags_parser=parse_flags)
