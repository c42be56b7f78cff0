"""Services of commands and runs: flags, processes, devices, signals and files.

command_line.py parses flags, and outside.py imports functions of a user's own
code. hosts.py joins several processes, and sharding.py places arrays on
devices. interrupt.py catches Ctrl-C and SIGTERM, and profiling.py records
traces. workdir.py manages the directory of a run, checkpoint.py saves and
restores its state, and resumable_jsonl.py writes tables that an interrupted
command can resume.
"""
