"""The fixed texts of the tournament's page."""

HEAD = """# The tournament

All methods with one engine, one data order, one learning rate and equal budgets
of rollout steps, from the same base. What the literature claims of them is
compared with these runs in [claims](../claims/README.md). Every number below is
computed from the kept results of finished runs in [results](results).
"""

SHORT = """## In short

*More*, *less*, *above* and *below* mean that a 95 % interval excludes zero, and
undecided that it does not. The correction is Benjamini and Hochberg's at 5 %.
"How to read it" explains the comparisons and the words, and the tables of each
base begin with what the names mean. The conclusion is in
[the README](../../README.md#one-curve-or-many).
"""

READING = """## How to read it

**Entries.** An entry has the name of its method's file in
[configs](../../configs/README.md#methods) and of what it changes; "What the
names mean" lists the settings, and "Targets of entropy" the targets of
controlled entries. `linear(a, b, n)` goes from a to b over n optimizer steps.
`updates=16` splits a rollout batch into 16 mini-batches instead of 4, and
`epochs=2` trains on it twice. `prompts=64` and `curriculum` change the data,
and not the method. `ki=0` leaves out the controller's integral, and `every=4`
corrects every fourth update.

**Three comparisons.**

1. *At equal budget:* with GRPO after as many rollout steps, paired by seed and
   prompt. Rollout steps are equal, but not all else: dynamic sampling discards
   groups whose responses are all right or all wrong, and samples more; only
   `grpo,epochs=2` and the unlikeliness reward train on a batch twice.
2. *At equal entropy:* with GRPO's curve. Straight lines join the base and
   separate runs of GRPO with more and more rollout steps. Each of these runs
   goes to the end of its own learning-rate schedule; none was stopped in the
   middle. An entry's height is its pass@k minus the curve's at the entry's
   entropy, for the same seed. A smaller budget of GRPO has a height of zero.
3. *At equal pass@1:* the same with pass@64 over pass@1. This height is the
   coverage that an entry has beyond GRPO's at the same accuracy. pass@8 is
   beside it, because the reasoning base has almost all of pass@64 already.

**What a height does not show.** An entry that holds a high entropy over a long
run is compared with a short run of GRPO, which has the same entropy but has
trained less. And GRPO's own policy also leaves its curve if it is sampled at
another temperature: after 600 or 3,000 rollout steps a hotter one has more
pass@1 than a short run of the same entropy. Entries above a curve are therefore
compared with "Stronger rivals" as well: GRPO with one update on a batch, and
GRPO's longer runs at any temperature.

**Temperature.** Responses are sampled at temperature 1, in training and in the
evaluation. There a policy of higher entropy has less pass@1 by sampling alone.
`maj@64`, the accuracy of a majority vote of 64 responses, hardly depends on it
up to 1.25.

**Tuning.** No method was tuned here. Where a paper's number does not suit so
small a model, the method's config takes a guess or a scaled number, with its
origin beside it. The targets of 0.36 nats are from a first look with one seed,
in which they lost less pass@1 than the targets of the configs.

**Chance.** Of 40 entries that are equal to GRPO, chance alone calls about one
better and one worse. So the summary also counts what remains with the
correction, which allows 5 % of the remaining differences to be wrong. Three
seeds estimate a variance badly, so its p-values are from variances that are
shrunk towards the common one of all entries, as in Smyth (2004). This was added
when the runs were known; what each entry's own variance gives is beside it. The
comparisons with stronger rivals have no correction. All entries share
GRPO's seeds and prompts, so several can be wrong together. An undecided entry
is not shown to be equal to GRPO.

**Numbers** are from the evaluation at the end, on held-out prompts; entropy is
in nats per token. n is the number of seeds. ± is the standard deviation over
seeds. Brackets are 95 % intervals: over seeds (Student's t) for heights and
targets, over seeds and prompts for differences from GRPO, by an analysis of
variance. A single seed has no bracket, and its difference is from GRPO's run of
the same seed. A seed whose entropy or pass@1 no run of GRPO has gets no height;
a dash means that no seed has one. Other machines round differently, and a run
of the same seed then ends elsewhere, as a run of another seed would.

**Costs**, relative to GRPO's: `update` has the FLOPs of the update's matrix
products, counted in the traced program
(`python -m experiments.tournament.costs`); a third more is a forward pass of
another policy, such as the base. `samples` has the responses sampled, and
`time` the CPU time of a rollout step with sampling, verifying and training, as
the median of pairs of steps that were made in turn
(`python -m experiments.tournament.times`). Differences of a few per cent in it
are noise, and a dash stands for what was not timed. The update alone is timed
in [the lab book](../RESULTS.md#cost-of-a-methods-update).
"""

COMMANDS = """## Make it again

This command computes the page from the kept results, in seconds:

    python -m experiments.tournament.page

The runs are made by the next command. It skips every run that is finished, so
it can be stopped at any time and continues on any machine. `--dry_run` lists
what is missing, and `--quick` makes eight methods with two seeds. Huge pages
make it faster.

    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \\
        python -m experiments.tournament --workdir=runs/tournament --jobs=2

A method of your own takes part as soon as it has a file in configs/
([how](../../CONTRIBUTING.md#add-a-method)), and `--entries=mine` runs it alone.
The rule for budgets and numbers is in [rule.py](rule.py), with what was written
before the first run.
"""

TITLES = {
  "countdown": "The Countdown base",
  "reasoning": "The reasoning base: Countdown with working",
}
DESCRIPTIONS = {
  "countdown": (
    "A model of 0.8 M weights that writes an equation of some 11 tokens which "
    "is to give a number. A response is right or wrong."
  ),
  "reasoning": (
    "A model of 1.2 M weights that first writes its search for such an "
    "equation, step by step, with dead ends that it takes back. A response of "
    "the base has some 45 tokens, and training makes them longer: at the limit "
    "of 128 tokens a third of the trained responses are cut off, which costs "
    "pass@1."
  ),
}
