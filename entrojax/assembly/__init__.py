"""Check a config and build the parts of a run from it.

Configs stop here: the packages that this one imports take plain arguments.
"""
