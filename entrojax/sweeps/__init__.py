"""Sweeps: many runs of one config, each with a few settings of its own.

hyper.py      the functions with which a config file lists its units
units.py      from such a list to named units with whole configs
record.py     sweep.json, which keeps a sweep's units apart from another's
unit_runs.py  the state of a unit's run directory, and one run of a unit
workers.py    processes that run units side by side
estimate.py   the time that a unit will take, from a few timed steps

The command is entrojax.sweep.
"""
