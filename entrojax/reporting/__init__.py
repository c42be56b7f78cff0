"""What a run tells a person: progress, logs, figures and reports.

writer.py writes the logs of a run, and run_logs.py reads them back.
"""
