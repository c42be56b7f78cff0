"""Advantage rules: turn the rewards of a group's responses into advantages.

A rule is a function Responses -> Responses (types.Responses). Most arrays are
f32[Q, G], for Q prompts with a group of G responses each. `apply_rules` applies
several in order: in a run, the order of the config key `advantage`. There are
four kinds:

    shaping    changes rewards, before the baseline        unlikeliness, ...
    baseline   turns rewards into advantages; exactly one  grpo, rloo, nsr, ...
    later      changes advantages or leaves responses out  seed_grpo, ...
    filter     leaves responses out, at any place          overlong_filter

Each factory below builds a rule from its hyperparameters. It raises ValueError
if one of them lies outside the range that its `Args:` give. A rule raises
ValueError if it stands on the wrong side of the baseline, or if the responses
lack a field that it reads. `uplift_rate` is no rule; it measures what an update
did to right responses.

To add a rule, write `advantages/my_rule.py`, import it below, and add a row to
RULES in tests/helpers/rule_cases.py:

    @RuleTraits(kind="later")
    def my_rule(*, factor: float = 0.5) -> AdvantageRule:
      return lambda responses: dataclasses.replace(responses, advantages=factor
        * require_field(responses, "advantages", "my_rule"))

Its settings then are config.my_rule, with the defaults of its arguments.
"""

from entrojax.advantages.baselines import (
  dr_grpo,
  gdpo,
  grpo,
  maxrl,
  qae,
  rloo,
  rs_grpo,
)
from entrojax.advantages.decomposed import nsr, psr, w_reinforce
from entrojax.advantages.entrocraft import entrocraft
from entrojax.advantages.grpo_dropout import grpo_dropout
from entrojax.advantages.grpo_s import grpo_s
from entrojax.advantages.overlong import overlong_filter, overlong_penalty
from entrojax.advantages.pass_at_k import best_of_group, pass_at_k
from entrojax.advantages.rules import apply_rules
from entrojax.advantages.seed_grpo import seed_grpo
from entrojax.advantages.unlikeliness import unlikeliness, uplift_rate
from entrojax.advantages.whiten import whiten
