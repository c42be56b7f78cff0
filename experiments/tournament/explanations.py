"""The fixed texts of the tournament's page."""

HEAD = """# The tournament

All methods with one engine and equal budgets of rollout steps, from the same
base and, unless an entry changes them, with the same data order and learning
rate. What the literature claims of them is compared with these runs in
[claims](../claims/README.md). The numbers below are computed from the kept
results of finished runs in [results](results).
"""

SHORT = """## In short

*More*, *less*, *above* and *below* mean that a 95 % interval excludes zero, and
undecided that it does not. *With the correction* is a second test, for so many
comparisons, from a variance that all entries share. It can also call an entry
that its own interval leaves undecided. "How to read it" explains both, and the
tables of each base begin with what the names mean. The conclusion is in
[the README](../../README.md#one-curve-or-many).
"""

READING = """## How to read it

**Entries.** An entry has the name of its method's file in
[configs](../../configs/README.md#methods) and of what it changes; "What the
names mean" lists the settings, and "Targets of entropy" the targets of
controlled entries. `linear(a, b, n)` goes from a to b over n optimizer steps.
`updates=16` splits a rollout batch into 16 mini-batches instead of 4, and
`epochs=2` trains on it twice. `unlikeliness,epochs=1` also leaves out the
method's KL penalty. `prompts=64` and `curriculum` change the data, and not the
method. `ki=0` leaves out the controller's integral, and `every=4` corrects
every fourth update.

**Three comparisons.**

1. *At equal budget:* with GRPO after as many rollout steps, paired by seed and
   prompt. Rollout steps are equal, but not all else: dynamic sampling discards
   groups whose responses are all right or all wrong, and samples more; only
   `grpo,epochs=2` and the unlikeliness reward train on a batch twice.
2. *At equal entropy:* with GRPO's curve. Straight lines join the base and
   separate runs of GRPO with more and more rollout steps. Each of these runs
   goes to the end of its own learning-rate schedule; none was stopped in the
   middle. Points that are nearer than 0.005 nats to each other are joined to
   their mean. An entry's height is its pass@k minus the curve's at the entry's
   entropy, for the same seed. GRPO's own budgets on the curve have a height of
   zero.
3. *At equal pass@1:* the same with pass@64 over pass@1. This height is the
   coverage that an entry has beyond GRPO's at the same accuracy. *Coverage* is
   pass@64, the share of prompts with a right answer among 64. pass@8 is
   beside it, because the reasoning base has almost all of pass@64 already.

**What a height does not show.** An entry that holds a high entropy over a long
run is compared with a short run of GRPO, which has the same entropy but has
trained less. And GRPO's own policy also leaves its curve if it is sampled at
another temperature: after 600 or 3,000 rollout steps a hotter one has more
pass@1 than a short run of the same entropy. Entries above a curve are therefore
compared with "Stronger rivals" as well: GRPO, and GRPO with one update on a
batch, of any budget and at any temperature.

**Temperature.** Responses are sampled at temperature 1, in training and in the
evaluation. There a policy of higher entropy has less pass@1 by sampling alone.
`maj@64`, the accuracy of a majority vote of 64 responses, hardly depends on it
up to 1.25.

**Tuning.** No method was tuned on these runs. Where a paper's number does not
suit so small a model, the method's config takes a guess or a scaled number and
has its origin beside it, as for the gains of controllers and the coefficients
of KL. The targets of 0.36 nats are from a first look with one seed, in which
they lost less pass@1 than the targets of the configs.

**Chance.** Of 40 entries that are equal to GRPO, chance alone calls about one
better and one worse. So the summary also counts the differences with the
correction of Benjamini and Hochberg, which allows 5 % of them to be wrong.
A few seeds estimate a variance badly, so its p-values are from variances that
are shrunk towards the common one of all entries, as in Smyth (2004). This was
added when the runs were known; what each entry's own variance gives is beside
it. The comparisons with stronger rivals have no correction. All entries share
GRPO's seeds and prompts, so several can be wrong together. An undecided entry
is not shown to be equal to GRPO.

**Numbers** are from the evaluation at the end, on held-out prompts; entropy is
in nats per token. n is the number of seeds; on Countdown a fourth was added
when three were known, for all entries of the common budget and all budgets of
GRPO alike, and intervals take no account of that. Other learning rates and
other longer runs have three, and other strengths one. An entry is compared with
GRPO's runs of its own seeds, so a difference need not be that of two printed
means. ± is the standard deviation over seeds. Brackets are 95 % intervals: over
seeds (Student's t) for heights and targets, over seeds and prompts for
differences from GRPO, by an analysis of variance. A single seed has no bracket,
and its difference is from GRPO's run of the same seed. A seed whose entropy or
pass@1 is outside of its curve gets no height. Such an entry has the mean of its
other seeds in the tables, or a dash, and is not counted in the summary. Other
machines round differently, and a run of the same seed then ends elsewhere, as a
run of another seed would.

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

LEGEND = """R is the reward, A the advantage, r the ratio of the policy's to the
sampling policy's probability of a token, w its product over a response, H the
entropy, pi the policy, pi_T the policy at temperature T, sg a stopped gradient,
G the size of a group.
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
    "of 128 tokens a third of the responses of GRPO are cut off in the end, "
    "which costs pass@1."
  ),
}
