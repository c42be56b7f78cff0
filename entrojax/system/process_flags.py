"""Flags of the commands that can run as several processes, and what they do."""

from absl import flags


def define_process_flags(flag_values: flags.FlagValues) -> None:
  """Define the flags of a command that may run as several processes."""
  flags.DEFINE_bool(
    "distributed",
    False,
    "join the other processes of a TPU pod, Slurm or GKE job",
    flag_values=flag_values,
  )
  flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0, outside such a job",
    flag_values=flag_values,
  )
  flags.DEFINE_integer(
    "num_processes",
    None,
    "the number of processes, with --coordinator",
    flag_values=flag_values,
  )
  flags.DEFINE_integer(
    "process_id",
    None,
    "the number of this process, from 0, with --coordinator",
    flag_values=flag_values,
  )


def join_processes(flag_values: flags.FlagValues) -> None:
  """Join the other processes if the command line sets the flags for that.

  Args:
    flag_values: parsed, with the flags of `define_process_flags`.

  Raises:
    ValueError: a flag is missing or wrong, or the environment does not name the
      other processes.
    RuntimeError: the other processes cannot be reached.
  """
  names = ("coordinator", "num_processes", "process_id")
  missing = [name for name in names if getattr(flag_values, name) is None]
  if len(missing) == len(names) and not flag_values.distributed:
    return
  # Importing hosts imports jax. Here the flags are parsed already, so a wrong
  # flag is reported without that delay.
  from entrojax.system import hosts

  if len(missing) == len(names):
    try:
      hosts.initialize()
    except ValueError as error:
      raise ValueError(
        "--distributed: this is no TPU pod, Slurm or GKE job, which would say "
        "where the other processes are; pass --coordinator=HOST:PORT "
        f"--num_processes=N --process_id=I instead ({error})"
      ) from error
    return
  if missing:
    raise ValueError(
      "--coordinator, --num_processes and --process_id go together: "
      f"--{missing[0]} is missing"
    )
  coordinator, num_processes, process_id = (
    getattr(flag_values, name) for name in names
  )
  if not 0 <= process_id < num_processes:
    raise ValueError(
      f"--process_id={process_id} must lie in [0, --num_processes = "
      f"{num_processes})"
    )
  if ":" not in coordinator:
    raise ValueError(
      f"--coordinator={coordinator!r} is not of the form HOST:PORT"
    )
  print(
    f"process {process_id} of {num_processes} waits for the others at "
    f"{coordinator}",
    flush=True,
  )
  hosts.initialize(coordinator, num_processes, process_id)
