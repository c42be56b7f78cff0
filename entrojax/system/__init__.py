"""Services of commands and runs: flags, processes, devices, signals and files.

command_line.py parses flags, with the pages of help_page.py and the messages of
flag_errors.py. outside.py imports functions of a user's own code, and
rare_warnings.py counts their faults. process_flags.py reads which processes a
command joins, hosts.py joins them, signs_of_life.py ends them if one is gone,
and sharding.py places arrays on devices. interrupt.py catches Ctrl-C and
SIGTERM, and profiling.py records traces. workdir.py manages the directory of a
run and locks outputs. checkpoint.py saves and restores the state of a run, with
the records of checkpoint_record.py and the digests of digests.py, and saves.py
decides when. resumable_jsonl.py writes tables that an interrupted command can
resume.
"""
