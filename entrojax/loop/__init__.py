"""The parts of the train loop that write: evaluations, logs and checkpoints.

evaluation.py evaluates the policy of a run, reports.py writes its logs and
shows its progress, and files.py begins or resumes its directory. train.py puts
them together.
"""
