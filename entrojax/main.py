"""The command: runs a config in a work directory.

    python -m entrojax.main --config=configs/countdown.py --workdir=runs/x \
        --config.optimizer.learning_rate=1e-4
"""

from collections.abc import Sequence
import os
from pathlib import Path
import sys

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file("config", None, "the run's settings")
_WORKDIR = flags.DEFINE_string("workdir", None, "the run directory")
_RESUME = flags.DEFINE_bool(
  "resume", True, "go on from the newest checkpoint of the work directory"
)

EXIT_INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
  """Trains; returns the exit status."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  # tensorflow-datasets would ask a cloud's metadata server where it runs
  os.environ.setdefault("NO_GCE_CHECK", "true")
  workdir = Path(str(_WORKDIR.value))
  try:
    from entrojax.check import check_overrides
    from entrojax.train import train

    check_overrides(
      _CONFIG.value, config_flags.get_override_values(flags.FLAGS["config"])
    )
    saved = train(_CONFIG.value, workdir, resume=_RESUME.value)
  except KeyboardInterrupt:
    print("interrupted unsaved; the same command goes on from its last save")
    return EXIT_INTERRUPTED
  except (ValueError, OSError, RuntimeError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  if saved is not None:
    print(f"interrupted; saved {saved}; the same command goes on from there")
    return EXIT_INTERRUPTED
  print(f"done: {workdir / 'metrics.jsonl'}")
  return 0


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses the command line; a wrong setting ends it with one line.

  ml-collections raises from the depth of a config where the key is unknown or
  the type is wrong, and suggests the nearest key.
  """
  try:
    return app.parse_flags_with_usage(list(argv))
  except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    text = str(error.args[0] if error.args else error)
    message = " ".join(text.replace("\\n", " ").split()).replace("\\'", "'")
    message = message.strip("'\"").replace("' Did you", "; did you")
    unknown = isinstance(error, AttributeError | KeyError)
    kind = "unknown setting" if unknown else "wrong setting"
    print(f"error: {kind}: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  flags.mark_flags_as_required(["config", "workdir"])
  app.run(main, flags_parser=parse_flags)
