"""Check a config and build the parts of a run from it.

Configs stop here: the rooms below take plain arguments.
"""
