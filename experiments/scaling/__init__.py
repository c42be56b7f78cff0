"""How the cost of a rollout step grows with the sizes of a run.

One quantity grows at a time (points.py). counts.py compiles the parts of a step
and reads FLOPs, bytes and exchanged bytes from the graphs, which are exact;
times.py runs them and takes CPU seconds; several_processes.py does the same for
a run in several processes. large_run.py applies the laws to a run on 4,096
chips, and page.py writes everything on one page.
"""
