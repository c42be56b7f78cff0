"""The numbers of the tournament, and the rule that set them.

The rule was written down before the first run, except "holding" and "long
runs", which were added when all methods had run with seed 0, and the gentler
GRPOs among the long runs, which were added when the others were known. Two
entries were added on the reasoning base when KL-Cov lay above GRPO's curve
there: GRPO's budget of 5 steps, in the curve's widest gap, and GRPO with one
update on a batch, which lies above that curve on Countdown:

- **Budget.** An entry makes 200 rollout steps of its base's testbed on
  Countdown, each of 32 prompts x 8 responses. The data order depends on the
  seed alone. A method makes the optimizer steps per rollout that it prescribes:
  4 for most, 1 for RLOO, 4 over two epochs for the unlikeliness reward.
- **Learning rate.** It is the testbed's for all but a few controls. Its cosine
  ends with the run, whatever the budget, so no run stops in the middle of a
  schedule. NSR, W-REINFORCE and 80/20 also run at a quarter and at four times
  it, with three seeds. They were added when their claims had not held, to tell
  whether the learning rate is the cause. At four times it the alarm `idle`
  stops 80/20, so that this entry has no line.
- **Numbers of methods.** They are the config's on Countdown, which its file
  derives from the paper's. A schedule that a config ends at step 600 ends with
  the run.
- **Targets of entropy** are shares of the base's entropy. On another base than
  Countdown's, a config's target keeps its share.
- **Holding.** Three methods that can both raise and lower the entropy run with
  each of three targets, in nats.
- **Seeds.** An entry has three, and another strength of a method has one. On
  Countdown, the entries of the common budget and all runs of GRPO have a
  fourth, because three seeds left most comparisons undecided. It was added when
  three were known, for all of these entries alike, and no interval takes into
  account that there was a first look. A fifth was planned and given up for lack
  of time, before the results of the fourth were known.
- **Long runs.** GRPO and a few other entries run at longer budgets, to see
  which of them overtakes GRPO, and at what budget: a target below the base's
  entropy, a target that falls with the run, the projection, and Clip-Cov, which
  a first look had above GRPO's curve. GRPO with one update on a batch and GRPO
  with a quarter of the learning rate are beside them, because a gentler GRPO
  keeps more entropy without any control; with one update it has a curve of its
  own. The budgets on Countdown are the demo's and, for some of them, five times
  the demo's. Long runs on the reasoning base sort rows by length, which changes
  results by rounding. For lack of time, some long runs were planned and not
  made: EntroPIC with a falling target and the projection for 3,000 steps, and
  EntroPIC with a falling target and, for 80 steps, Clip-Cov on the reasoning
  base. EntroPIC and the projection run there with a target of 0.16 nats alone,
  because on Countdown the targets of their configs kept the entropy of the base
  and gained little.
- **Strengths.** A method with a main strength also runs at two other values of
  it, with seed 0. A coefficient or a share is divided and multiplied by four,
  within its range. If the config's value can hardly be told from GRPO, both
  others are stronger. A target is set to 70 % and 90 % of the base's entropy.
- **GRPO** runs at several budgets and at the longer ones, each to the end of
  its own schedule. The budgets with all seeds are the curve that all other
  entries are compared with; the claims use the six on Countdown.
- **Evaluation.** 64 samples for each of 256 held-out prompts, at the end.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

NOTHING: Mapping[str, Any] = MappingProxyType({})

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
  *("grpo", "clip_cov", "kl_cov", "clip_higher", "top_entropy"),
  *("w_reinforce", "nsr", "steer", "entropy_bonus", "advanced"),
)
CURRICULUM = "curriculum.table"  # the file of prompts that SENT needs


class Base(NamedTuple):
  """A base model with its testbed.

  Attributes:
    words: testbed and preset, as after the colon of --config.
    steps: rollout steps of an entry, the budget.
    budgets: rollout steps of GRPO's runs.
    entropy: of the base on held-out prompts, nats per token; None: unknown.
    settings: 'section.key' -> value for all entries.
    more_seeds: of the entries of the common budget and of GRPO's runs, beyond
      SEEDS.
    methods: the names of the methods; None: all.
    strengths: whether other values of main strengths, and other learning rates,
      run as well.
    long: rollout steps of GRPO's long runs; other entries have some of them.
    long_words: testbed and preset of long runs; None: `words`.
    pictured: the entries whose course over a run is drawn.
  """

  words: str
  steps: int
  budgets: Sequence[int]
  entropy: float | None
  settings: Mapping[str, Any] = NOTHING
  more_seeds: Sequence[int] = ()
  methods: Sequence[str] | None = None
  strengths: bool = True
  long: Sequence[int] = ()
  long_words: str | None = None
  pictured: Sequence[str] = ()

  @property
  def seeds(self) -> Sequence[int]:
    """The seeds of an entry of the common budget."""
    return (*SEEDS, *self.more_seeds)

  def words_of(self, steps: int) -> str:
    """Return the testbed and preset of an entry with this budget."""
    return self.long_words or self.words if steps in self.long else self.words


BASES = {
  "countdown": Base(
    "demo",
    200,
    BUDGETS,
    0.51,
    more_seeds=(3,),
    long=(600, 3000),
    pictured=tuple(
      f"{name},steps=600"
      for name in (
        *("grpo", "grpo,updates=1", "entropic,target=0.36"),
        *("projection,target=0.36", "clip_cov"),
      )
    ),
  ),
  # a step takes many times as long as on Countdown, so the budget is smaller
  "reasoning": Base(
    "reasoning,padded",
    40,
    (5, 10, 20, 40, 80),
    0.231,
    methods=FEW,
    strengths=False,
    long=(80,),
    # in less than half the time, and the same up to rounding
    long_words="reasoning",
    pictured=tuple(
      f"{name},steps=80"
      for name in ("grpo", "entropic,target=0.16", "projection,target=0.16")
    ),
  ),
}


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
SHARES = (0.7, 0.9)  # of the base's entropy, for other targets

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
RATES = (4e-5, 6.4e-4)  # a quarter and four times the testbed's
# method -> the other learning rates that it runs at, with three seeds
RATED: Mapping[str, Sequence[float]] = {
  "nsr": RATES,
  "w_reinforce": RATES,
  "top_entropy": RATES[:1],
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
# base -> more entries of its budget: name -> (method, settings); a pair as a
# controller's target is its value at the first and at the last update
EXTRAS: Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
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
    GENTLE: ("grpo", _GRPO_EXTRAS["updates=1"]),
    "entropic,target=0.16": ("entropic", {"control.target": 0.16}),
    "projection,target=0.16": ("projection", {"projection.target": 0.16}),
    "top_entropy,low,fraction=0.8": _LOW_TOKENS,
  },
}
# base -> entries that also run at longer budgets -> their rollout steps
LONG: Mapping[str, Mapping[str, Sequence[int]]] = {
  "countdown": {
    "entropic,target=0.36": (600, 3000),
    "entropic,falling": (600,),
    "projection,target=0.36": (600,),
    "clip_cov": (600,),
    # these keep more entropy without a controller
    GENTLE: (400, 600, 3000),
    "grpo,learning_rate=4e-05": (600,),
  },
  "reasoning": {
    GENTLE: (80,),
    "entropic,target=0.16": (80,),
    "projection,target=0.16": (80,),
  },
}
