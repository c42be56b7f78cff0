"""Check a config and build the parts of a run from it.

Commands and the train loop hand their config to this package. It reads the
settings and passes them on, so that no package below it sees a whole config.
Commands read a few settings themselves.

check_run.py makes all checks of a training run before anything is loaded, and
check_*.py has them by subject. methods.py builds the methods, model.py, data.py
and samplers.py what they train on, and run.py the run.
"""
