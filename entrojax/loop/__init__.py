"""The parts of the train loop that write, watch and test a run.

evaluation.py evaluates the policy of a run, reports.py writes its logs and
shows its progress, and files.py begins or resumes its directory. faults.py
reports skipped updates, and selftest.py tests a run before it starts. train.py
puts them together.
"""
