"""Train a language model by reinforcement learning, as a config describes.

    python -m entrojax.main --config=configs/countdown.py --workdir=runs/x \
        --config.optimizer.learning_rate=1e-4
"""

from pathlib import Path
import re
from typing import Any

from absl import flags
from ml_collections import config_flags

from entrojax.system.command_line import (
  EXIT_INTERRUPTED,
  command,
  define_process_flags,
  join_processes,
)

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "the settings of the run, a file such as configs/grpo.py",
  flag_values=FLAGS,
)
_WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "the run directory; created if missing",
  flag_values=FLAGS,
)
_RESUME = flags.DEFINE_bool(
  "resume",
  True,
  "resume from the newest checkpoint of the run directory; with --noresume, a "
  "directory that holds a run is refused",
  flag_values=FLAGS,
)
_PROFILE = flags.DEFINE_string(
  "profile",
  None,
  "N:M records an XProf trace into the run directory, from the end of rollout "
  "step N to the end of rollout step M",
  flag_values=FLAGS,
)
define_process_flags(FLAGS)


@command(
  FLAGS,
  required=("config", "workdir"),
  settings="configs/default.py",
  interrupted=(
    "Interrupted, without saving. Run the same command again to resume from "
    "the last checkpoint."
  ),
)
def main() -> int:
  """Train; return the exit status."""
  join_processes(FLAGS)
  from entrojax.assembly.check_methods import check_overrides
  from entrojax.assembly.check_settings import check_kind
  from entrojax.system.hosts import is_first
  from entrojax.train import train

  config, workdir = _CONFIG.value, Path(_WORKDIR.value)
  check_kind(config)
  check_overrides(config, config_flags.get_override_values(FLAGS["config"]))
  options: dict[str, Any] = {}
  if _PROFILE.value is not None:
    options["profile"] = parse_profile(_PROFILE.value, config.num_rollout_steps)
  saved = train(config, workdir, resume=_RESUME.value, **options)
  if saved is not None:
    print(f"Interrupted. Saved {saved}. Run the same command again to resume.")
    return EXIT_INTERRUPTED
  if is_first():
    print(f"done: {workdir / 'metrics.jsonl'}")
  return 0


def parse_profile(text: str, num_rollout_steps: int) -> tuple[int, int]:
  """Parse --profile.

  Args:
    text: "N:M".
    num_rollout_steps: the length of the run.

  Returns:
    (N, M): the number of rollout steps that are done when the trace begins,
    and when it ends.

  Raises:
    ValueError: the text has another form, or not 0 <= N < M <=
      num_rollout_steps.
  """
  match = re.fullmatch(r"(\d+):(\d+)", text)
  if match is None:
    raise ValueError(
      f"--profile={text} is not of the form N:M, two numbers of rollout steps "
      "such as 10:13"
    )
  first, last = map(int, match.groups())
  if first >= last:
    raise ValueError(f"--profile={text}: N must be below M, as in 10:13")
  if last > num_rollout_steps:
    raise ValueError(
      f"--profile={text}: the run ends after num_rollout_steps = "
      f"{num_rollout_steps}"
    )
  return first, last


if __name__ == "__main__":
  main()
