"""List the advantage rules of the shared suite, draw responses, apply rules.

A new rule adds a row to RULES, with settings that make it act on the responses
of `random_responses`.
"""

import jax.numpy as jnp
import numpy as np

from entrojax import advantages
from entrojax.advantages import (
  apply_rules,
  best_of_group,
  dr_grpo,
  entrocraft,
  gdpo,
  grpo,
  grpo_dropout,
  grpo_s,
  maxrl,
  nsr,
  overlong_filter,
  overlong_penalty,
  pass_at_k,
  psr,
  qae,
  rloo,
  rs_grpo,
  seed_grpo,
  unlikeliness,
  w_reinforce,
  whiten,
)
from entrojax.types import Responses
from tests.helpers.imports import require_functions

require_functions(globals())

RULES = {
  "grpo": grpo(),
  "dr_grpo": dr_grpo(),
  "rloo": rloo(),
  "maxrl": maxrl(),
  "qae": qae(),
  "rs_grpo": rs_grpo(),
  "gdpo": gdpo(),
  "pass_at_k": pass_at_k(),
  "best_of_group": best_of_group(),
  "w_reinforce": w_reinforce(),
  "psr": psr(),
  "psr, all tokens": psr(denominator="all"),
  "nsr": nsr(),
  "nsr, all tokens": nsr(denominator="all"),
  "overlong_penalty": overlong_penalty(max_length=12, cache_length=4),
  "overlong_filter": overlong_filter(),
  "unlikeliness": unlikeliness(),
  "unlikeliness, the correct": unlikeliness(rank_among="correct", score="sum"),
  "grpo_s": grpo_s(),
  "seed_grpo": seed_grpo(alpha=1.0),
  "entrocraft": entrocraft(low=(0.6, 0.6), high=(0.7, 0.7)),
  "entrocraft, reward": entrocraft(
    low=(0.6, 0.6), high=(0.7, 0.7), signal="reward"
  ),
  "whiten": whiten(),
  "grpo_dropout": grpo_dropout(),
  "grpo_dropout, whole groups": grpo_dropout(centre_whole_groups=False),
}


def random_responses(seed, num_groups=6, group_size=8) -> Responses:
  """Draw responses; the last two groups are all wrong and all right."""
  rng = np.random.default_rng(seed)
  shape = (num_groups, group_size)
  rewards = np.float32(rng.integers(2, size=shape))
  rewards[:, 0], rewards[:, 1] = 0, 1
  rewards[-2], rewards[-1] = 0, 1
  return Responses(
    rewards=jnp.asarray(rewards),
    correctness=jnp.asarray(rewards),
    log_probs=jnp.asarray(-rng.exponential(0.6, shape), jnp.float32),
    lengths=jnp.asarray(rng.integers(3, 13, shape), jnp.float32),
    truncated=jnp.asarray(rng.integers(2, size=shape), jnp.float32),
    clusters=jnp.asarray(rng.integers(-1, 3, shape), jnp.int32),
    entropy=jnp.float32(0.55),
    entropies=jnp.asarray(rng.exponential(0.5, shape), jnp.float32),
    rollout_step=jnp.int32(10),
  )


def apply(responses, *names, **settings) -> Responses:
  """Apply rules by name; `settings` are keyed by the rule's name."""
  rules = {
    name: getattr(advantages, name)(**settings.get(name, {})) for name in names
  }
  return apply_rules(rules, responses)


def same(actual, expected):
  np.testing.assert_array_equal(actual, expected)


def close(actual, expected, atol=1e-6):
  np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)
