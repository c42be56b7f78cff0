"""Read the plain values of a config that the train loop and its steps need.

Settings of methods and of the model are not among them: they are built into the
functions of a run (run.py).
"""

from typing import NamedTuple

from ml_collections import ConfigDict as Config

from entrojax.reporting.alarms import ROLL_BACK, WATCHED, AlarmSettings
from entrojax.system.outside import last_name


class DynamicSampling(NamedTuple):
  """When dynamic sampling stops; see rollouts/dynamic_sampling.py."""

  max_batches: int  # at most this many rollout batches are sampled for a step
  on_exhausted: str  # what to do with too few groups
  low: float  # smallest mean reward of a group that is kept
  high: float  # largest
  steers_by_policy: bool  # by the entropy of all groups; else of those kept


class RolloutSettings(NamedTuple):
  """The rollout batch of a step."""

  num_prompts: int  # Q
  prompt_length: int  # P, tokens
  dynamic_sampling: DynamicSampling | None  # None: off
  faulty_reward_ends: bool  # whether a reward that is no number ends the run
  reward_parts: tuple[str, ...]  # the parts of rewards that rules read


class EvaluationSettings(NamedTuple):
  """The evaluations of a run."""

  every: int  # rollout steps; 0 = before the first and after the last only
  prompts_per_batch: int
  prompt_length: int  # P, tokens
  prompt_buckets: tuple[int, ...]  # smaller P, ascending, for short prompts
  token_samples: int  # per prompt of the first batch; 0 = no tokens are kept


class CheckpointSettings(NamedTuple):
  """The checkpoints of a run."""

  every: int  # rollout steps between saves; 0 = no such saves
  minutes: float  # minutes between saves; 0 = no such saves
  keep: int  # the number of newest checkpoints to keep
  keep_best: str | None  # metric whose best checkpoint is kept as well
  # rollout steps, the age of another checkpoint that is kept, to which an alarm
  # may take the run back; None: no alarm does
  keep_age: int | None


class LogSettings(NamedTuple):
  """What a run reports."""

  every: int  # rollout steps between plain lines
  num_samples: int  # responses of each evaluation kept in samples.jsonl
  wandb_project: str | None  # None: no W&B
  reference_kl: bool  # measure the distance to the base without a penalty
  keep_batches: tuple[int, ...]  # rollout steps whose batches are kept
  controls: tuple[str, ...]  # rules and members that might have no effect


class LedgerSettings(NamedTuple):
  """When the ledger has an entry; see entrojax/instruments/ledger.py."""

  every: int  # rollout steps between entries; 0 = no ledger
  num_epochs: int  # passes of an update over its rollout batch


class Settings(NamedTuple):
  """The plain values of a run's config."""

  seed: int
  num_rollout_steps: int
  updates_per_rollout: int  # optimizer steps of a rollout step
  rollout: RolloutSettings
  evaluation: EvaluationSettings
  checkpoint: CheckpointSettings
  log: LogSettings
  ledger: LedgerSettings
  alarms: AlarmSettings
  max_faults: int  # rollout steps with a skipped update in a row end the run


def resolve(config: Config, reward_parts: tuple[str, ...]) -> Settings:
  """Read the settings of a checked config.

  Args:
    config: a checked config.
    reward_parts: names of the parts of rewards that its advantage rules read.
  """
  rollout, evaluation = config.rollout, config.evaluation
  dynamic_sampling = None
  if config.dynamic_sampling.enabled:
    dynamic_sampling = DynamicSampling(
      config.dynamic_sampling.max_batches,
      config.dynamic_sampling.on_exhausted,
      config.dynamic_sampling.low,
      config.dynamic_sampling.high,
      steers_by_policy=config.control.signal == "policy",
    )
  alarms = AlarmSettings(
    window=config.alarms.window,
    actions={name: config.alarms[name] for name in WATCHED},
    limits={name: config.alarms[f"{name}_limit"] for name in WATCHED},
    roll_back=tuple(config.alarms.roll_back),
  )
  rolls_back = ROLL_BACK in alarms.actions.values()
  return Settings(
    seed=config.seed,
    num_rollout_steps=config.num_rollout_steps,
    updates_per_rollout=config.training.updates_per_rollout,
    rollout=RolloutSettings(
      rollout.num_prompts,
      rollout.prompt_length,
      dynamic_sampling,
      faulty_reward_ends=config.faults.reward == "raise",
      reward_parts=reward_parts,
    ),
    evaluation=EvaluationSettings(
      every=evaluation.every,
      prompts_per_batch=evaluation.prompts_per_batch,
      prompt_length=rollout.prompt_length,
      prompt_buckets=tuple(rollout.prompt_buckets),
      token_samples=evaluation.token_samples,
    ),
    checkpoint=CheckpointSettings(
      every=config.checkpoint.every,
      minutes=config.checkpoint.minutes,
      keep=config.checkpoint.keep,
      keep_best=config.checkpoint.keep_best or None,
      keep_age=alarms.window if rolls_back else None,
    ),
    log=LogSettings(
      every=config.log.every,
      num_samples=config.log.samples,
      wandb_project=config.log.wandb_project or None,
      reference_kl=config.log.reference_kl,
      keep_batches=tuple(config.log.keep_batches),
      controls=(
        *map(last_name, (*config.advantage, *config.objective)),
        "projection",
      ),
    ),
    ledger=LedgerSettings(config.ledger.every, config.training.num_epochs),
    alarms=alarms,
    max_faults=config.faults.max_in_a_row,
  )
