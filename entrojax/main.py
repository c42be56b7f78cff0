r"""Train a language model by reinforcement learning, as a config describes.

    python -m entrojax.main --config=configs/countdown.py --workdir=runs/x \
        --config.optimizer.learning_rate=1e-4

--workdir becomes the run directory: see system/workdir.py. After Ctrl-C or
SIGTERM the run finishes its step, saves a checkpoint and ends. The same command
resumes an interrupted or killed run from its newest checkpoint. With --selftest
nothing is trained or written: the run is tested on one rollout step.
"""

from pathlib import Path
import re

from absl import flags
from ml_collections import ConfigDict as Config
from ml_collections import config_flags

from entrojax.system.command_line import EXIT_INTERRUPTED, command
from entrojax.system.process_flags import define_process_flags, join_processes

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "the settings of the run, a file such as configs/grpo.py",
  flag_values=FLAGS,
)
_WORKDIR = flags.DEFINE_string(
  "workdir",
  "",
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
  "FIRST:LAST records an XProf trace of these rollout steps into the run "
  "directory; steps count from 1, and both are included",
  flag_values=FLAGS,
)
_SELFTEST = flags.DEFINE_bool(
  "selftest",
  False,
  "do not train: build the run, take one rollout step, print what was checked, "
  "and exit with 1 if a check failed",
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
  from entrojax.assembly.check_overrides import check_overrides
  from entrojax.assembly.check_run import completing
  from entrojax.assembly.check_values import check_kind
  from entrojax.system.hosts import is_first
  from entrojax.train import train

  config, workdir = _CONFIG.value, Path(_WORKDIR.value)
  keys = config_flags.get_override_values(FLAGS["config"])
  check_kind(config)
  with completing(config, keys):
    check_overrides(config, keys)
  if _SELFTEST.value:
    return _self_test(config, workdir)
  profile = None if _PROFILE.value is None else parse_profile(_PROFILE.value)
  saved = train(config, workdir, resume=_RESUME.value, profile=profile)
  if saved is not None:
    print(f"Interrupted. Saved {saved}. Run the same command again to resume.")
    return EXIT_INTERRUPTED
  if is_first():
    print(f"done: {workdir / 'metrics.jsonl'}")
  return 0


def _self_test(config: Config, workdir: Path) -> int:
  """Print the table of the self-test; return the exit status."""
  from entrojax.assembly.run import build
  from entrojax.loop import selftest
  from entrojax.system.hosts import is_first

  run = build(config)
  checks = selftest.self_test(run, workdir, dtype=config.model.dtype)
  if is_first():
    print(selftest.format_checks(checks))
  return 0 if selftest.is_passed(checks) else 1


def parse_profile(text: str) -> tuple[int, int]:
  """Parse --profile: the first and the last rollout step to record.

  Raises:
    ValueError: the text is not FIRST:LAST with 1 <= FIRST <= LAST.
  """
  match = re.fullmatch(r"(\d+):(\d+)", text)
  if match is None:
    raise ValueError(
      f"--profile={text} is not of the form FIRST:LAST, two numbers of rollout "
      "steps such as 10:12"
    )
  first, last = map(int, match.groups())
  if not 1 <= first <= last:
    raise ValueError(
      f"--profile={text} needs 1 <= FIRST <= LAST: rollout steps count from 1, "
      "and both are recorded"
    )
  return first, last


if __name__ == "__main__":
  main()
