"""What runs in the tournament, and the rule that set the numbers.

The rule was written down before the first run, except "holding" and "long
runs", which were added when all methods had run with seed 0, and the gentler
GRPOs among the long runs, which were added when the others were known:

- **Budget.** An entry makes 200 rollout steps of its base's testbed on
  Countdown, each of 32 prompts x 8 responses. The data order depends on the
  seed alone. A method makes the optimizer steps per rollout that it prescribes:
  4 for most, 1 for RLOO, 4 over two epochs for the unlikeliness reward.
- **Learning rate.** It is the testbed's for all but one control. Its cosine
  ends with the run, whatever the budget, so no run stops in the middle of a
  schedule.
- **Numbers of methods.** They are the config's on Countdown, which its file
  derives from the paper's. A schedule that a config ends at step 600 ends with
  the run.
- **Targets of entropy** are shares of the base's entropy. On another base than
  Countdown's, a config's target keeps its share.
- **Holding.** Three methods that can both raise and lower the entropy run with
  each of three targets, in nats.
- **Long runs.** GRPO and a few other entries run at longer budgets, to see
  which of them overtakes GRPO, and at what budget: a target below the base's
  entropy, a target that falls with the run, the projection, and Clip-Cov, which
  a first look had above GRPO's curve. GRPO with one update on a batch and GRPO
  with a quarter of the learning rate are beside them, because a gentler GRPO
  keeps more entropy without any control; with one update it has a curve of its
  own. The budgets on Countdown are the demo's and, for some of them, five times
  the demo's. Long runs on the reasoning base sort rows by length, which changes
  results by rounding.
- **Strengths.** A method with a main strength also runs at two other values of
  it, with seed 0. A coefficient or a share is divided and multiplied by four,
  within its range. If the config's value can hardly be told from GRPO, both
  others are stronger. A target is set to 70 % and 90 % of the base's entropy.
- **GRPO** runs at six budgets and at the longer ones, each to the end of its
  own schedule. The budgets with all seeds are the curve that all other entries
  are compared with; the claims use the six.
- **Evaluation.** 64 samples for each of 256 held-out prompts, at the end.

An entry is named after what it changes, as in `clip_cov,fraction=0.08`.
"""

from collections.abc import Iterator, Mapping, Sequence
import functools
from types import MappingProxyType
from typing import Any, NamedTuple

import configs

_NOTHING: Mapping[str, Any] = MappingProxyType({})

BASELINE = "grpo"
GENTLE = "grpo,updates=1"  # GRPO that keeps more entropy without any control
BUDGETS = (25, 50, 100, 200, 400, 600)  # rollout steps of GRPO
SEEDS = (0, 1, 2)
QUICK_SEEDS = (0, 1)
# the methods of --quick
QUICK = (
  *("grpo", "entropic", "clip_cov", "kl_cov", "clip_higher", "top_entropy"),
  *("w_reinforce", "projection"),
)
# the methods on the reasoning base, where a run takes far longer
FEW = (
  *("grpo", "entropic", "clip_cov", "kl_cov", "clip_higher", "top_entropy"),
  *("w_reinforce", "nsr", "projection", "steer", "entropy_bonus", "advanced"),
)
_BY_COVARIANCE = ("clip_cov", "kl_cov")
CURRICULUM = "curriculum.table"  # the file of prompts that SENT needs


class Base(NamedTuple):
  """A base model with its testbed.

  Attributes:
    words: testbed and preset, as after the colon of --config.
    steps: rollout steps of an entry, the budget.
    budgets: rollout steps of GRPO's runs.
    entropy: of the base on held-out prompts, nats per token; None: unknown.
    settings: 'section.key' -> value for all entries.
    methods: the names of the methods; None: all.
    strengths: whether other values of main strengths run as well.
    long: rollout steps of GRPO's long runs; other entries have some of them.
    long_words: testbed and preset of long runs; None: `words`.
    pictured: the entries whose course over a run is drawn beside GRPO's.
  """

  words: str
  steps: int
  budgets: Sequence[int]
  entropy: float | None
  settings: Mapping[str, Any] = _NOTHING
  methods: Sequence[str] | None = None
  strengths: bool = True
  long: Sequence[int] = ()
  long_words: str | None = None
  pictured: Sequence[str] = ()

  def words_of(self, steps: int) -> str:
    """Return the testbed and preset of an entry with this budget."""
    return self.long_words or self.words if steps in self.long else self.words


BASES = {
  "countdown": Base(
    "demo",
    200,
    BUDGETS,
    0.51,
    long=(600, 3000),
    pictured=(
      "entropic,target=0.36",
      "projection,target=0.36",
      *_BY_COVARIANCE,
    ),
  ),
  # a step takes many times as long as on Countdown, so the budget is smaller
  "reasoning": Base(
    "reasoning,padded",
    40,
    (10, 20, 40, 80),
    0.231,
    methods=FEW,
    strengths=False,
    long=(80,),
    # in less than half the time, and the same up to rounding
    long_words="reasoning",
    pictured=(
      "entropic,target=0.16",
      "projection,target=0.16",
      *_BY_COVARIANCE,
    ),
  ),
}


class Entry(NamedTuple):
  """A configuration of the tournament.

  Attributes:
    name: the method, and what differs from its config.
    method: the name of its file in configs/.
    steps: rollout steps.
    settings: 'section.key' -> value, beyond the budget.
    seeds: the seeds it runs with.
    role: "budget" for GRPO's curve, "method" for a method as its config has it,
      "extra" for an entry that a claim or a question needs, "long" for one
      with a longer budget, "strength" for another value of a method's main
      strength.
  """

  name: str
  method: str
  steps: int
  settings: Mapping[str, Any] = _NOTHING
  seeds: Sequence[int] = SEEDS
  role: str = "method"


class Run(NamedTuple):
  """An entry with a seed."""

  entry: Entry
  seed: int

  @property
  def name(self) -> str:
    """The name of the run, unique in the tournament."""
    return f"{self.entry.name},seed={self.seed}"


# method -> the settings of its targets, with the config's share of the base's
# entropy
TARGETS: Mapping[str, Mapping[str, float]] = {
  "entropic": {"control.target": 0.98},
  "advanced": {"control.target": 0.98},
  "adaptive_entropy": {"control.target": 0.78},
  "positive_reweighting": {"control.target": 0.78},
  "stare": {"stare.target": 0.59},
  "adaptive_stare": {"control.target": 0.59, "adaptive_stare.target": 0.59},
  "projection": {"projection.target": 0.98},
}
_SHARES = (0.7, 0.9)  # of the base's entropy, for other targets

# method -> the other two values of its main strength
STRENGTHS: Mapping[str, Sequence[Mapping[str, Any]]] = {
  "clip_higher": [{"ppo_clip.clip_high": x} for x in (0.4, 1.0)],
  "cispo": [{"cispo.clip_high": x} for x in (1.0, 4.0)],
  "ce_gppo": [{"ce_gppo.beta_high": x} for x in (0.25, 4.0)],
  "gspo": [
    {"gspo.clip_low": low, "gspo.clip_high": high}
    for low, high in ((0.0075, 0.01), (0.12, 0.16))
  ],
  "clip_cov": [{"clip_cov.fraction": x} for x in (0.005, 0.08)],
  "kl_cov": [{"kl_cov.fraction": x} for x in (0.005, 0.08)],
  "top_entropy": [{"top_entropy.fraction": x} for x in (0.05, 0.8)],
  "steer": [{"steer.min_weight": x} for x in (0.5, 0.2)],
  "erc": [
    {"erc.low": low, "erc.high": high}
    for low, high in ((0.99, 1.01), (0.8, 1.2))
  ],
  "entropy_advantage": [{"entropy_advantage.alpha": x} for x in (0.1, 1.6)],
  "sent_token": [
    {"sent.beta_low": low, "sent.beta_high": high}
    for low, high in ((0.0125, 0.05), (0.2, 0.8))
  ],
  "entropy_bonus": [{"entropy_bonus.entropy_coef": x} for x in (0.00125, 0.02)],
  "reference_kl": [{"reference_kl.kl_coef": x} for x in (0.0125, 0.2)],
  "siren": [{"siren.coef": x} for x in (0.02, 0.08)],
  "unlikeliness": [{"unlikeliness.beta": x} for x in (0.0625, 1.0)],
  "seed_grpo": [{"seed_grpo.alpha": x} for x in (0.25, 4.0)],
  "w_reinforce": [{"w_reinforce.positive_weight": x} for x in (0.025, 0.4)],
  "entrocraft": [
    {
      "entrocraft.low": (low, low),
      "entrocraft.high": (low + 0.05, low + 0.05),
    }
    for low in (0.35, 0.45)
  ],
}

# GRPO with one thing changed, for claims about what makes the entropy fall
_GRPO_EXTRAS: Mapping[str, Mapping[str, Any]] = {
  "updates=1": {"training.updates_per_rollout": 1},
  "updates=16": {"training.updates_per_rollout": 16},
  "epochs=2": {
    "training.updates_per_rollout": 8,
    "training.num_epochs": 2,
  },
  "clip=0.05": {"ppo_clip.clip_low": 0.05, "ppo_clip.clip_high": 0.05},
  "clip=0.9": {"ppo_clip.clip_low": 0.9, "ppo_clip.clip_high": 0.9},
  "prompts=64": {"task.train_split": "train[:64]"},
  "learning_rate=4e-05": {"optimizer.learning_rate": 4e-5},
}
_LOW_TOKENS = (
  "top_entropy",
  {"top_entropy.which": "low", "top_entropy.fraction": 0.8},
)
# methods that run with each of HELD_TARGETS -> the setting of the target
_HOLDERS: Mapping[str, str] = {
  "entropic": "control.target",
  "dcpo": "dcpo.target",
  "projection": "projection.target",
}
HELD_TARGETS = (0.3, 0.5, 0.7)  # nats
_CONFIGS_TARGET = 0.5  # the target that the configs of these methods have
# base -> more entries with three seeds: name -> (method, settings); a pair as a
# controller's target is its value at the first and at the last update
_EXTRAS: Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
  "countdown": {
    **{f"grpo,{k}": ("grpo", v) for k, v in _GRPO_EXTRAS.items()},
    "entropic,target=0.36": ("entropic", {"control.target": 0.36}),
    "projection,target=0.36": ("projection", {"projection.target": 0.36}),
    "projection,target=0.36,every=4": (
      "projection",
      {"projection.target": 0.36, "projection.every": 4},
    ),
    "entropic,updates=1": ("entropic", {"training.updates_per_rollout": 1}),
    "entropic,updates=16": ("entropic", {"training.updates_per_rollout": 16}),
    "entropic,ki=0": ("entropic", {"entropic_pi.ki": 0.0}),
    "entropic,falling": ("entropic", {"control.target": (0.5, 0.2)}),
    "top_entropy,low,fraction=0.8": _LOW_TOKENS,
    "unlikeliness,epochs=1": (
      "unlikeliness",
      {"training.num_epochs": 1, "reference_kl.kl_coef": 0.0},
    ),
    "grpo,curriculum": ("grpo", {CURRICULUM: "runs/countdown_prompts.jsonl"}),
    "sent": ("sent", {}),
    **{
      f"{method},target={target:g}": (method, {key: target})
      for target in HELD_TARGETS
      if target != _CONFIGS_TARGET
      for method, key in _HOLDERS.items()
    },
  },
  "reasoning": {
    "entropic,target=0.16": ("entropic", {"control.target": 0.16}),
    "projection,target=0.16": ("projection", {"projection.target": 0.16}),
    "entropic,falling": ("entropic", {"control.target": (0.23, 0.09)}),
    "top_entropy,low,fraction=0.8": _LOW_TOKENS,
  },
}
# base -> entries that also run at longer budgets -> their rollout steps
_LONG: Mapping[str, Mapping[str, Sequence[int]]] = {
  "countdown": {
    "entropic,target=0.36": (600, 3000),
    "entropic,falling": (600, 3000),
    "projection,target=0.36": (600, 3000),
    "clip_cov": (600,),
    # these keep more entropy without a controller
    GENTLE: (400, 600, 3000),
    "grpo,learning_rate=4e-05": (600,),
  },
  "reasoning": {
    "entropic,target=0.16": (80,),
    "entropic,falling": (80,),
    "projection,target=0.16": (80,),
    "clip_cov": (80,),
  },
}


@functools.cache
def entries(base: str) -> Sequence[Entry]:
  """List the entries on a base, GRPO's budgets first.

  Args:
    base: a key of BASES.

  Raises:
    ValueError: an entry has a target, and the base's entropy is unknown.
  """
  place = BASES[base]
  all_entries = [
    Entry(f"{BASELINE},steps={n}", BASELINE, n, role="budget")
    for n in place.budgets
  ]
  all_entries += [
    Entry(name, name, place.steps, _targets(name, base))
    for name in method_names(base)
    if name != BASELINE
  ]
  all_entries += [
    Entry(name, method, place.steps, settings, role="extra")
    for name, (method, settings) in _EXTRAS[base].items()
  ]
  all_entries += _long_runs(all_entries, base)
  if place.strengths:
    names = {entry.name for entry in all_entries}
    all_entries += [e for e in _strengths(place) if e.name not in names]
  return [_complete(entry, place) for entry in all_entries]


def long_name(name: str, steps: int) -> str:
  """Return the name of an entry's run of a longer budget."""
  return f"{name},steps={steps}"


def long_rows(base: str) -> Mapping[str, Mapping[int, str]]:
  """Return GRPO and the entries with long runs: budget -> the run's entry.

  GRPO's row has all budgets from the common one on.
  """
  place = BASES[base]
  longer = {n for n in (*place.budgets, *place.long) if n > place.steps}
  rows = {BASELINE: sorted(longer), **_LONG[base]}
  common = {name: name for name in rows} | {
    BASELINE: long_name(BASELINE, place.steps)
  }
  return {
    name: {
      place.steps: common[name],
      **{n: long_name(name, n) for n in budgets},
    }
    for name, budgets in rows.items()
  }


def method_names(base: str) -> Sequence[str]:
  """List the methods that run on a base as their config has them.

  The offline methods are left out, and so is SENT, which needs a table of
  prompts: it is an extra entry.
  """
  if (names := BASES[base].methods) is not None:
    return names
  return [
    name
    for name, method in configs.methods().items()
    if method.testbed == "countdown" and name != "sent"
  ]


def runs(base: str) -> Sequence[Run]:
  """List all runs on a base in the order in which they are made.

  All entries of the common budget come with seed 0, then with seed 1, and so
  on. Long runs follow, in the same order, and strengths are last. So a
  tournament that is cut off has the same seeds of every method.
  """
  own = entries(base)
  parts = (("budget", "method", "extra"), ("long",), ("strength",))
  return [
    Run(entry, seed)
    for roles in parts
    for seed in SEEDS
    for entry in own
    if entry.role in roles and seed in entry.seeds
  ]


def is_quick(run: Run, base: str) -> bool:
  """Return whether a run is one of --quick."""
  entry = run.entry
  return (
    run.seed in QUICK_SEEDS
    and entry.method in QUICK
    and entry.steps == BASES[base].steps
    and entry.role in ("budget", "method")
  )


def unit(run: Run, base: str) -> dict[str, Any]:
  """Return a run as a unit of a sweep."""
  entry = run.entry
  config = f"configs/{entry.method}.py:{BASES[base].words_of(entry.steps)}"
  settings = {f"config.{key}": value for key, value in entry.settings.items()}
  return {"config": config, **settings, "config.seed": run.seed}


def _long_runs(all_entries: Sequence[Entry], base: str) -> Iterator[Entry]:
  """List the entries of longer budgets.

  Args:
    all_entries: the entries of the common budget, and GRPO's budgets.
    base: a key of BASES.
  """
  place = BASES[base]
  by_name = {entry.name: entry for entry in all_entries}
  short = Entry(BASELINE, BASELINE, place.steps)
  rows = [(by_name[name], steps) for name, steps in _LONG[base].items()]
  for own, budgets in [(short, place.long), *rows]:
    for steps in budgets:
      name = long_name(own.name, steps)
      if name not in by_name:
        yield own._replace(name=name, steps=steps, role="long")


def _complete(entry: Entry, place: Base) -> Entry:
  """Add the settings that follow from the budget."""
  words = place.words_of(entry.steps)
  config = configs.load_method(entry.method).get_config(words)
  updates = entry.settings.get(
    "training.updates_per_rollout", config.training.updates_per_rollout
  )
  settings = {
    **place.settings,
    "num_rollout_steps": entry.steps,
    "optimizer.decay_steps": entry.steps * updates,
    **entry.settings,
  }
  target = settings.get("control.target")
  if isinstance(target, tuple):  # from the first to the last update
    start, end = target
    length = entry.steps * updates
    settings["control.target"] = f"linear({start:g}, {end:g}, {length})"
  if "entrocraft" in config.advantage:
    settings.setdefault("entrocraft.anneal_steps", entry.steps)
  if config.curriculum.table or CURRICULUM in settings:
    settings["curriculum.steps_per_stage"] = (
      entry.steps // config.curriculum.num_stages
    )
  return entry._replace(settings=settings)


def _targets(method: str, base: str) -> Mapping[str, Any]:
  """Return a method's targets on a base; none on Countdown, its config's own.

  Raises:
    ValueError: the base's entropy is unknown.
  """
  if base == "countdown" or method not in TARGETS:
    return {}
  entropy = BASES[base].entropy
  if entropy is None:
    raise ValueError(
      f"the entropy of the base of {base} is not known: set it in BASES of "
      "experiments/tournament/entries.py, from the first line of a run's "
      "metrics.jsonl"
    )
  return {k: round(x * entropy, 2) for k, x in TARGETS[method].items()}


def _strengths(place: Base) -> Iterator[Entry]:
  """List the entries with another value of a main strength."""
  assert place.entropy is not None
  by_target = {
    method: [
      {key: round(share * place.entropy, 2) for key in keys}
      for share in _SHARES
    ]
    for method, keys in TARGETS.items()
  }
  for method, values in {**STRENGTHS, **by_target}.items():
    for settings in values:
      labels = dict.fromkeys(
        f"{key.rpartition('.')[2]}={_text(value)}"
        for key, value in settings.items()
      )
      name = ",".join([method, *labels])
      yield Entry(name, method, place.steps, settings, (0,), "strength")


def _text(value: Any) -> str:
  """Return a value as a part of a name; of equal numbers only the first."""
  if isinstance(value, tuple):
    return "-".join(dict.fromkeys(map(_text, value)))
  return f"{value:g}" if isinstance(value, float) else str(value)
