"""SEED-GRPO: prompts whose answers disagree are learned from less.

    A <- f(s) A,     s = clip(SE / log G, 0, 1)

with SE the semantic entropy of the group's answers: one factor a prompt, the
sign of A stays. arXiv 2505.12346; semantic.py has SE and f.
"""

import dataclasses

import jax.numpy as jnp

from entrojax.advantages.rules import kept, known
from entrojax.entropy.semantic import modulation, semantic_entropy
from entrojax.masking import mean_metric
from entrojax.types import AdvantageRule, Responses


def seed_grpo(
  *, estimator: str = "rao", form: str = "inverse", alpha: float = 0.0417
) -> AdvantageRule:
  """Makes the factor; put it after the baseline, dr_grpo in the paper.

  Before a division by the group's deviation the factor would cancel.

  Args:
    estimator: of the semantic entropy: "rao", "count", "mc" or
      "mc_unnormalised"; see `semantic_entropy`.
    form: of f: "inverse", "linear", "exp" or "focal"; see `modulation`.
    alpha: its strength, >= 0. 0.0417, which the released code is said to have,
      takes 4 % at most; 0.5 or 1 make a difference.
  """
  # both know best what they take: ask them now
  nothing = jnp.zeros((1, 2), jnp.int32)
  modulation(
    semantic_entropy(nothing, jnp.zeros((1, 2)), estimator=estimator),
    2,
    form=form,
    alpha=alpha,
  )

  def rule(responses: Responses) -> Responses:
    advantages = known(responses, "advantages", "seed_grpo")
    clusters = known(responses, "clusters", "seed_grpo")
    log_probs = known(responses, "log_probs", "seed_grpo")
    entropy = semantic_entropy(clusters, log_probs, estimator=estimator)
    factor = modulation(entropy, clusters.shape[1], form=form, alpha=alpha)
    counted = jnp.max(kept(responses), axis=1)
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
