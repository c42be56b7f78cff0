"""The parts of the train loop, which entrojax/train.py puts together.

rollout_step.py takes one step: it samples, verifies and updates. evaluation.py
evaluates the policy of a run, reports.py writes its logs and shows its
progress, and files.py begins or resumes its directory. faults.py reports
skipped updates, and selftest.py tests a run before it starts.
"""
