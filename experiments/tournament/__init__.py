"""The tournament: all methods with one engine, one data order, equal budgets.

rule.py         the numbers of the tournament, and the rule that set them
entries.py      what runs: entries with their settings and seeds
countdown.py    the entries on Countdown, as a config file of a sweep
reasoning.py    the same on Countdown with working
options.py      the flags that the commands share
lines.py        the kept result of a run, one JSON line each
plan.py         which runs are missing, and whether a kept line still counts
runner.py       runs what is missing, and keeps a line for each finished run
temperatures.py evaluates finished runs at other sampling temperatures
times.py        times a rollout step of each entry
costs.py        counts the FLOPs of each entry's update
measures.py     numbers of an entry's lines, and how two entries differ in them
judging.py      means with intervals over seeds, and what they decide
families.py     what is left among many comparisons
curve.py        GRPO's curve over its budgets, and a run's height above it
field.py        what the page compares on a base
answers.py      what the page says in short
explanations.py what the page explains on every base
tables.py       the tables of the page
rivals.py       the table of heights above GRPO of any budget and temperature
strengths.py    the table of other values of a main strength
targets.py      which entries end at their target of entropy
heated.py       what the page says of other temperatures
formats.py      numbers, intervals and rows in Markdown
labels.py       places the labels of a picture
courses.py      the pictures of entropy and reward over a run
figures.py      the planes of entropy, pass@1 and pass@64
page.py         the page, from the kept lines alone
"""
