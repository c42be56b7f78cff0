"""Check a config and build the parts of a run from it.

Commands and the train loop pass their config to this package. It reads the
settings, and calls the packages below it with plain arguments.
"""
