r"""Sample, verify and judge the rollouts that an offline run trains on.

    python -m entrojax.collect --config=configs/bcpg_nsa.py \
        --output=runs/rollouts.jsonl

The model of model.path answers offline.num_prompts random problems, with
rollout.group_size responses to each. The problems are from the training split,
or from task.subset if that is set; all are answered if there are fewer. The
responses are verified. If a problem has right and wrong responses, the wrong
ones are cut into steps (config.segmentation), and the judges that config.judges
names decide which steps are right. Without judges, no response is cut.
rollouts/recorded.py describes the file.

An interrupted command resumes when it is started again. An offline run without
offline.rollouts collects its rollouts at its start, into its run directory.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from entrojax.assembly.check_settings import check_offline
from entrojax.assembly.check_values import check_kind
from entrojax.assembly.offline import collect, progress_lines
from entrojax.system.command_line import command

FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "the settings of the offline run, a file such as configs/bcpg_nsa.py",
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output", "", "the JSONL file of rollouts to write", flag_values=FLAGS
)


@command(
  FLAGS,
  required=("config", "output"),
  settings="configs/default.py",
  interrupted=(
    "Interrupted. Run the same command again to resume after the last batch."
  ),
)
def main() -> None:
  """Write the file."""
  path = Path(_OUTPUT.value)
  check_kind(_CONFIG.value)
  check_offline(_CONFIG.value)
  for line in progress_lines(collect(_CONFIG.value, path)):
    print(line, flush=True)
  print(f"done: {path}")


if __name__ == "__main__":
  main()
