"""Check a config and build the parts of a run from it.

Commands and the train loop hand their config to this package. It reads the
settings and passes them on, so that no package below it sees a whole config.
Commands read a few settings themselves.
"""
