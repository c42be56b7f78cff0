"""Entropy control for reinforcement learning of language models, in JAX.

Importing entrojax gives the library: objectives, advantage rules, aggregations,
controllers, the entropy projection of optimizer steps, measures of entropy (of
tokens and of the meanings of answers), and fits of the law R = -a exp(H) + b
between the entropy H and the reward R. Its functions take arrays and the small
dataclasses of types.py; clustering takes texts. None of them needs the models
or the trainer of this package.

    loss, metrics = entrojax.policy_loss(objective, aggregate, tokens)

The trainer is built from the same functions, and trains with your own:

    entrojax.train(config, workdir, task=(reward, problems), objective=mine())

`evaluate` evaluates a model folder on tasks. `load_run` reads a run directory,
and `draw`, `compare` and `show_report` show runs in a notebook. These and the
trainer are imported when they are first used.

The folders and modules of this package, called rooms, form layers. A room
imports only rooms that stand on the lines above its own:

    types, traits            the types; what methods declare of themselves
    arguments                checks of hyperparameters
    masking                  masked reductions; metrics as sums and counts
    schedules                numbers that change over a run
    system, answers          devices and files; final answers
    control                  controllers
    entropy, models, tasks   token entropies; decoders; problems, verifiers
    advantages, objectives   rules from rewards to advantages; losses
    data                     prompts and tokenizers
    judges, reporting        judges of steps; logs and figures
    update                   the optimizer step
    rollouts                 sampled responses, pass@k
    assembly                 from a config to the parts of a run
    instruments              the ledger, and replays of kept batches
    loop                     the parts of the train loop
    train                    the loop over rollout steps
    sweeps                   many runs of one config

The other modules are commands: python -m entrojax.main, entrojax.sft,
entrojax.evaluate_model, ... No room imports a command.
"""

import importlib
from typing import TYPE_CHECKING

from entrojax import advantages, control, objectives
from entrojax.answers.clusters import cluster, entailment_equivalence
from entrojax.entropy.covariance import (
  covariance_by_quadrant,
  predicted_entropy_change,
  share_by_quadrant,
  token_covariance,
)
from entrojax.entropy.law import (
  confidence,
  fit_entropy_law,
  forecast,
  predict,
  predict_with_error,
  sensitivity,
)
from entrojax.entropy.semantic import modulation, semantic_entropy
from entrojax.entropy.token_stats import log_prob_and_entropy
from entrojax.objectives.aggregation import (
  seq_mean_token_mean,
  seq_mean_token_sum,
  seq_mean_token_sum_norm,
  token_mean,
)
from entrojax.schedules import scheduled
from entrojax.traits import (
  ControllerTraits,
  ObjectiveTraits,
  RuleTraits,
  public_functions,
)
from entrojax.types import (
  AdvantageRule,
  Controller,
  Mean,
  Objective,
  Responses,
  ScoredTokens,
  TokenLoss,
)
from entrojax.update.corrected_step import (
  adam_preconditioner,
  identity_preconditioner,
)
from entrojax.update.projection import entropy_projection

if TYPE_CHECKING:
  from entrojax.advantages import *  # noqa: F403
  from entrojax.control import *  # noqa: F403
  from entrojax.evaluate_model import evaluate
  from entrojax.objectives import *  # noqa: F403
  from entrojax.report import show_report
  from entrojax.reporting.notebook import compare, draw, load_run
  from entrojax.train import train

# all objectives, rules and controllers, so that a new one needs no line here
for _room in (objectives, advantages, control):
  globals().update(public_functions(_room))


_LATER = {
  "compare": "entrojax.reporting.notebook",
  "draw": "entrojax.reporting.notebook",
  "evaluate": "entrojax.evaluate_model",
  "load_run": "entrojax.reporting.notebook",
  "show_report": "entrojax.report",
}


def __getattr__(name: str):
  """Import what takes seconds to import when it is first used."""
  if name == "train":
    return importlib.import_module("entrojax.train")
  if name in _LATER:
    return getattr(importlib.import_module(_LATER[name]), name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
