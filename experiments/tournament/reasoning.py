r"""The tournament on Countdown with working, as a config file of a sweep.

    python -m experiments.tournament --base=reasoning --workdir=runs/tournament

runs it and keeps the results. This file alone also runs as any sweep does, and
keeps nothing:

    python -m entrojax.sweep --workdir=runs/tournament/reasoning \
        --config=experiments/tournament/reasoning.py --jobs=2

Time: --dry_run estimates it.
"""

from ml_collections import ConfigDict as Config

from configs import reasoning
from experiments.tournament import entries

BASE = "reasoning"


def get_config() -> Config:
  """Return the settings of the testbed."""
  return reasoning.get_config("padded")


def get_hyper(hyper):
  """List the runs in their order."""
  del hyper  # entries.py lists units as dicts
  return [entries.unit(run, BASE) for run in entries.runs(BASE)]
