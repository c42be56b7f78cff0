"""SEED-GRPO: learn less from prompts whose answers disagree.

    A <- f(s) A,     s = clip(SE / log G, 0, 1)

SE, f32[Q], is the semantic entropy of a group's answers in nats, and G its
size, both without responses that earlier rules left out. There is one
factor f(s) in [0, 1] per prompt: 1 if all answers agree, and less the more they
disagree. With the default settings it is never below 0.95. arXiv 2505.12346.
entropy/semantic.py computes SE and f.

Deviation: the paper leaves no response out. If a filter has, its SE / log G
would be less than 1 even if all remaining answers differ, and the filter alone
would enlarge the advantages. Here the largest SE is the logarithm of the number
of remaining responses, as if the others had not been sampled.
"""

import dataclasses

import jax.numpy as jnp

from entrojax.advantages.rules import keep_mask, require_field
from entrojax.arguments import require_in, require_one_of
from entrojax.entropy.semantic import (
  ESTIMATORS,
  FORMS,
  modulation,
  semantic_entropy,
)
from entrojax.masking import mean_metric
from entrojax.traits import RuleTraits
from entrojax.types import AdvantageRule, Responses


@RuleTraits(kind="later", reads_clusters=True)
def seed_grpo(
  *, estimator: str = "rao", form: str = "inverse", alpha: float = 0.0417
) -> AdvantageRule:
  """Build SEED-GRPO's factor; put it after the baseline, dr_grpo in the paper.

  If the group's standard deviation divided the advantages afterwards, the
  factor would cancel.

  Args:
    estimator: how SE is estimated: "rao", "count", "mc" or "mc_unnormalised";
      see `semantic_entropy`.
    form: the form of f: "inverse", "linear", "exp" or "focal"; see
      `modulation`.
    alpha: strength of f, >= 0. 0.0417, which the released code reportedly
      uses, takes away 4 % at most; 0.5 or 1 make a difference.
  """
  require_one_of("seed_grpo.estimator", estimator, ESTIMATORS)
  require_one_of("seed_grpo.form", form, FORMS)
  require_in("seed_grpo.alpha", alpha, "[0, inf)")

  def rule(responses: Responses) -> Responses:
    advantages = require_field(responses, "advantages", "seed_grpo")
    clusters = require_field(responses, "clusters", "seed_grpo")
    log_probs = require_field(responses, "log_probs", "seed_grpo")
    kept = keep_mask(responses)
    clusters = jnp.where(kept > 0, clusters, -1)  # -1 = does not count
    entropy = semantic_entropy(clusters, log_probs, estimator=estimator)
    group_size = jnp.sum(kept, axis=1)
    factor = modulation(entropy, group_size, form=form, alpha=alpha)
    counted = jnp.max(kept, axis=1)
    return dataclasses.replace(
      responses,
      advantages=advantages * factor[:, None],
      metrics={
        **responses.metrics,
        "seed_grpo/semantic_entropy": mean_metric(entropy, counted),
        "seed_grpo/factor": mean_metric(factor, counted),
      },
    )

  return rule
