"""Score sampled responses token by token, as an evaluation keeps them.

`score_samples` computes for each token the log-prob and the entropy under the
policy and under the base, and the log-probs of the likeliest candidates. It
also marks the tokens whose gradient each member of the objective would change.
For these marks the responses are taken as one mini-batch, at the first update
after they were sampled. Probability ratios are 1 then, so a member marks no
token if it only clips ratios or only pulls them back to 1.

Shapes: Q prompts with n samples each. The first S samples of each are scored,
R = Q * S responses of T tokens.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from entrojax.entropy.statistics import top_log_probs
from entrojax.masking import masked_mean
from entrojax.objectives.chain import chain
from entrojax.objectives.gradient_changes import touched_tokens
from entrojax.objectives.loss import policy_loss
from entrojax.objectives.reading import statistics_read, under_current_policy
from entrojax.schedules import Scheduled, at
from entrojax.system.sharding import split_rows
from entrojax.types import (
  Aggregation,
  Array,
  Controller,
  Model,
  Objective,
  Params,
  Rollout,
  ScoredTokens,
  TrainState,
)
from entrojax.update.scoring import score

CANDIDATES = 5  # the likeliest tokens whose probabilities are kept


class Marking(NamedTuple):
  """The methods whose members mark tokens."""

  members: Mapping[str, Objective | Scheduled[Objective]]
  aggregate: Aggregation
  controller: Controller | Scheduled[Controller]


class TokenScores(NamedTuple):
  """What policy and base give each token of R responses."""

  tokens: Array  # i32[R, T]
  mask: Array  # f32[R, T], 1 = a sampled token, EOS included
  log_probs: Array  # f32[R, T], nats, under the policy
  entropy: Array  # f32[R, T], nats, of the policy
  base_log_probs: Array  # f32[R, T], nats, under the base
  base_entropy: Array  # f32[R, T], nats, of the base
  top: (
    Array  # f32[R, T, K], nats, the policy's likeliest candidates, descending
  )
  touched: Mapping[str, Array]  # by member: bool[R, T]; {}: without marks


def score_samples(
  model: Model,
  state: TrainState,
  base_params: Params,
  rollout: Rollout,
  advantages: Array,
  keep: Array,
  key: Array,
  *,
  num_samples: int,
  num_scored: int,
  temperature: float,
  marking: Marking | None,
  mesh: Mesh | None,
) -> TokenScores:
  """Score the first samples of each prompt of a rollout.

  Args:
    model: the policy and the base.
    state: has the policy's parameters, and the controller's state.
    base_params: the base's parameters.
    rollout: n responses to each of Q prompts.
    advantages: f32[Q, n], of the responses.
    keep: f32[Q, n], 1 = a response that the loss would count.
    key: for members that select tokens at random.
    num_samples: n.
    num_scored: S <= n.
    temperature: the sampling temperature.
    marking: the methods that mark tokens; None: no marks.
    mesh: the mesh that rows are split over; None for a single device.
  """
  first = lambda x: x.reshape(-1, num_samples, *x.shape[1:])[
    :, :num_scored
  ].reshape(-1, *x.shape[1:])
  rollout = split_rows(jax.tree.map(first, rollout), mesh)
  advantages, keep = (first(x.reshape(-1)) for x in (advantages, keep))
  mask = rollout.response_mask
  num_tokens = model.unembedding(state.params).shape[0]
  likeliest = top_log_probs(min(CANDIDATES, num_tokens))
  objectives = {}
  if marking is not None:
    objectives = {n: at(m, state.step) for n, m in marking.members.items()}
  declared = statistics_read(chain(*objectives.values())) if objectives else ()
  current = under_current_policy((*declared, likeliest))
  score_rows = functools.partial(
    score,
    model,
    tokens=rollout.tokens,
    positions=rollout.positions,
    response_length=mask.shape[1],
    group_size=num_scored,
    temperature=temperature,
    mesh=mesh,
  )
  log_probs, entropy, *values = score_rows(state.params, statistics=current)
  base_log_probs, base_entropy = score_rows(base_params)
  statistics = dict(zip(current, values, strict=True))
  touched: Mapping[str, Array] = {}
  if marking is not None:
    scored = ScoredTokens(
      log_probs=log_probs,
      old_log_probs=log_probs,
      entropy=entropy,
      old_entropy=entropy,
      advantages=jnp.broadcast_to(advantages[:, None], mask.shape),
      mask=mask * keep[:, None],
      ref_log_probs=base_log_probs,
      rollout_entropy=jnp.broadcast_to(masked_mean(entropy, mask), mask.shape),
      # the policy sampled the responses, so its statistics are the old ones
      statistics={s: statistics[s._replace(old=False)] for s in declared},
    )
    touched = _touched(marking, objectives, state, scored, mask, key)
  return TokenScores(
    rollout.tokens[:, -mask.shape[1] :],
    mask,
    log_probs,
    entropy,
    base_log_probs,
    base_entropy,
    statistics[likeliest],
    touched,
  )


def _touched(
  marking: Marking,
  members: Mapping[str, Objective],
  state: TrainState,
  tokens: ScoredTokens,
  sampled: Array,
  key: Array,
) -> dict[str, Array]:
  """Mark the tokens whose gradient each member would change, bool[R, T]."""
  controller = at(marking.controller, state.step)
  coefficient = controller.coefficient(
    state.opt_state["control"], masked_mean(tokens.entropy, sampled)
  )

  def loss_of(objective: Objective, learned: Any):
    log_probs, entropy, statistics = learned
    own = dataclasses.replace(
      tokens,
      log_probs=log_probs,
      entropy=entropy,
      statistics={**tokens.statistics, **statistics},
    )
    return policy_loss(
      objective, marking.aggregate, own, coefficient=coefficient, key=key
    )

  current = {s: v for s, v in tokens.statistics.items() if not s.old}
  return touched_tokens(
    members, loss_of, (tokens.log_probs, tokens.entropy, current)
  )
