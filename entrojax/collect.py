"""Rollouts for a run that trains offline: sampled, verified, judged, on disk.

    python -m entrojax.collect --config=configs/bcpg_nsa.py \
        --output=runs/rollouts.jsonl

Samples rollout.group_size responses to each of offline.num_prompts problems of
the training split from model.path, verifies them, cuts the wrong ones into
steps (config.segmentation) and has these judged (config.judges); see
recorded.py for the file. Stopped, the same command goes on. A run without
offline.rollouts does all that first, in its work directory.
"""

from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from entrojax.assembly.check_settings import check_kind, check_offline
from entrojax.assembly.offline import collect, progress_lines
from entrojax.system.command_line import command, parse_flags


def define_flags() -> None:
  """Defines what the command takes; importing this file defines nothing."""
  config_flags.DEFINE_config_file("config", None, "of the run")
  flags.DEFINE_string("output", None, "the file, JSON lines")
  flags.mark_flags_as_required(["config", "output"])


@command("interrupted; the same command goes on from its last batch")
def main() -> int:
  """Writes the file; returns the exit status."""
  path = Path(flags.FLAGS.output)
  config = flags.FLAGS.config
  check_kind(config)
  check_offline(config)
  for line in progress_lines(collect(config, path)):
    print(line, flush=True)
  print(f"done: {path}")
  return 0


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  define_flags()
  app.run(main, flags_parser=parse_flags)
