"""The tournament: all methods with one engine, one data order, equal budgets.

entries.py    what runs: methods, strengths, budgets, and the rule for numbers
countdown.py  the entries on Countdown, as a config file of a sweep
reasoning.py  the same on Countdown with working
lines.py      the kept result of a run, one JSON line each
plan.py       which runs are still missing, and whether a kept line still counts
runner.py     runs what is missing, and keeps a line for each finished run
curve.py      GRPO's curve over its budgets, and a method's distance from it
tables.py     the tables of the page
figures.py    the planes of entropy, pass@1 and pass@64
page.py       the page, from the kept lines alone
"""
