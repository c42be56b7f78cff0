"""Let one of several processes fail while the others wait for it.

tests/system/test_signs_of_life.py starts them.
"""

from absl import flags
import jax

from entrojax.system import hosts, signs_of_life
from entrojax.system.command_line import command
from entrojax.system.process_flags import define_process_flags, join_processes

FLAGS = flags.FlagValues()
_BAD = flags.DEFINE_integer(
  "bad", 0, "the process that fails", flag_values=FLAGS
)
define_process_flags(FLAGS)


@command(FLAGS)
def main() -> None:
  """Work together once, and then fail."""
  signs_of_life.PERIOD, signs_of_life.GRACE = 0.2, 1.0
  join_processes(FLAGS)
  hosts.any_of(False)
  if jax.process_index() == _BAD.value:
    raise OSError("no room")
  hosts.any_of(False)


if __name__ == "__main__":
  main()
