"""The tournament: all methods with one engine, one data order, equal budgets.

rule.py       budgets, strengths and targets, and the rule that set them
entries.py    what runs: entries with their settings and seeds
countdown.py  the entries on Countdown, as a config file of a sweep
reasoning.py  the same on Countdown with working
lines.py      the kept result of a run, one JSON line each
plan.py       which runs are still missing, and whether a kept line still counts
runner.py     runs what is missing, and keeps a line for each finished run
measures.py   numbers of an entry's lines, and how two entries differ in them
judging.py    means with intervals over seeds, and what they decide
curve.py      GRPO's curve over its budgets, and a run's height above it
field.py      what the page compares on a base
targets.py    which entries end at their target of entropy
costs.py      counts the FLOPs of each entry's update
temperatures.py evaluates finished runs at other sampling temperatures
heated.py     what the page says of them
answers.py    what the page says in short
tables.py     the tables of the page
formats.py    numbers, intervals and rows in Markdown
courses.py    the pictures of entropy and reward over a run
figures.py    the planes of entropy, pass@1 and pass@64
page.py       the page, from the kept lines alone
"""
