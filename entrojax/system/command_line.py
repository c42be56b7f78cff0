"""What every command does alike: it parses flags and says what is wrong."""

from collections.abc import Callable, Sequence
import functools
import os
import sys

from absl import app, flags

EXIT_INTERRUPTED = 130
EXIT_WRONG = 2


def command(
  interrupted: str,
) -> Callable[[Callable[[], int]], Callable[[Sequence[str]], int]]:
  """Makes what a command does into its main(argv) -> exit status.

  An error becomes one line, without a traceback.

  Args:
    interrupted: what is said where a person ends it.
  """

  def decorate(act: Callable[[], int]) -> Callable[[Sequence[str]], int]:
    @functools.wraps(act)
    def main(argv: Sequence[str]) -> int:
      if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
      # tensorflow-datasets would ask a cloud's metadata server where it runs
      os.environ.setdefault("NO_GCE_CHECK", "true")
      try:
        return act()
      except KeyboardInterrupt:
        print(interrupted)
        return EXIT_INTERRUPTED
      except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_WRONG

    return main

  return decorate


def define_process_flags() -> None:
  """Defines how a command that runs in several processes finds the others."""
  module = sys.argv[0]  # so that --help shows them
  flags.DEFINE_bool(
    "distributed",
    False,
    "join the processes of a TPU pod, Slurm or GKE job",
    module_name=module,
  )
  flags.DEFINE_string(
    "coordinator",
    None,
    "host:port of process 0, where nothing else tells it",
    module_name=module,
  )
  flags.DEFINE_integer(
    "num_processes", None, "with --coordinator: how many", module_name=module
  )
  flags.DEFINE_integer(
    "process_id", None, "with --coordinator: which, from 0", module_name=module
  )


def join_processes() -> None:
  """Joins the other processes, if the command line says that there are any.

  Raises:
    ValueError: a flag is missing or wrong, or nothing is known of the others.
    RuntimeError: they do not come.
  """
  given = flags.FLAGS
  names = ("coordinator", "num_processes", "process_id")
  missing = [name for name in names if getattr(given, name) is None]
  if len(missing) == len(names) and not given.distributed:
    return
  from entrojax.system import hosts  # jax, only once flags are parsed

  if len(missing) == len(names):
    try:
      hosts.initialize()
    except ValueError as error:
      raise ValueError(
        "--distributed: this is no TPU pod, Slurm or GKE job that tells where "
        "the other processes are; say --coordinator=HOST:PORT "
        f"--num_processes=N --process_id=I ({error})"
      ) from error
    return
  if missing:
    raise ValueError(
      "--coordinator, --num_processes and --process_id go together: "
      f"--{missing[0]} is missing"
    )
  if not 0 <= given.process_id < given.num_processes:
    raise ValueError(
      f"--process_id={given.process_id} must lie in [0, --num_processes = "
      f"{given.num_processes})"
    )
  if ":" not in given.coordinator:
    raise ValueError(
      f"--coordinator={given.coordinator!r} is not of the form HOST:PORT"
    )
  print(
    f"process {given.process_id} of {given.num_processes} waits for the others "
    f"at {given.coordinator}",
    flush=True,
  )
  hosts.initialize(given.coordinator, given.num_processes, given.process_id)


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses the command line; a wrong setting ends it with one line.

  ml-collections raises from the depth of a config where the key is unknown or
  the type is wrong, and suggests the nearest key.
  """
  try:
    return app.parse_flags_with_usage(list(argv))
  except SystemExit:
    # absl ends with 1 where it has helped as it was asked to
    sys.exit(0 if {"--help", "-h", "--helpfull"} & set(argv) else 1)
  except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    text = str(error.args[0] if error.args else error)
    message = " ".join(text.replace("\\n", " ").split()).replace("\\'", "'")
    message = message.strip("'\"").replace("' Did you", "; did you")
    unknown = isinstance(error, AttributeError | KeyError)
    kind = "unknown setting" if unknown else "wrong setting"
    print(f"error: {kind}: {message}", file=sys.stderr)
    sys.exit(EXIT_WRONG)
