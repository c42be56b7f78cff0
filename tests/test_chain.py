"""The chain: what it composes, what it refuses, what its members draw."""

import dataclasses

import jax
import pytest

from entrojax import aggregation
from entrojax.objectives import (
  adaptive_stare,
  chain,
  entropic,
  entropy_advantage,
  entropy_bonus,
  erc,
  policy_loss,
  positive_reweighting,
  ppo_clip,
  reinforce,
  stare,
  steer,
  top_entropy,
)
from entrojax.types import ScoredTokens, TokenLoss
from tests.objective_cases import evaluated, near


def test_a_chain_of_nothing_is_refused():
  with pytest.raises(ValueError, match="at least one objective"):
    chain()


def test_a_chain_without_a_term_is_refused(random_tokens):
  nothing = lambda tokens, token_loss, coefficient, key: token_loss
  with pytest.raises(ValueError, match="no term"):
    policy_loss(nothing, aggregation.token_mean, random_tokens(0, 5, 7))


@pytest.mark.parametrize(
  "transform",
  [
    top_entropy(),
    steer(),
    erc(),
    stare(),
    adaptive_stare(),
    positive_reweighting(),
    entropy_advantage(),
  ],
)
def test_a_transform_without_a_term_before_it_is_refused(
  transform, random_tokens
):
  with pytest.raises(ValueError, match="after a surrogate"):
    evaluated(chain(transform, ppo_clip()), random_tokens(0, 5, 7))


def test_the_members_of_a_chain_add(random_tokens):
  tokens = random_tokens(11, 5, 7)
  members = (ppo_clip(), entropic(), entropy_bonus(entropy_coef=0.1))
  (loss, _), gradients = evaluated(chain(*members), tokens)
  alone = [evaluated(member, tokens) for member in members]
  near(loss, sum(value[0] for value, _ in alone))
  near(gradients, jax.tree.map(lambda *g: sum(g), *(g for _, g in alone)))


def drawing_member(drawn):
  """Makes a member that appends a draw of its key to `drawn`."""

  def member(tokens, token_loss, coefficient, key):
    drawn.append(float(jax.random.uniform(key)))
    return TokenLoss(
      (*token_loss.terms, *ppo_clip()(tokens, token_loss, 0.0, key).terms), {}
    )

  return member


def test_each_member_of_a_chain_draws_from_its_own_key(random_tokens):
  drawn = []
  member = drawing_member(drawn)
  policy_loss(
    chain(member, member), aggregation.token_mean, random_tokens(0, 5, 7)
  )
  assert drawn[0] != drawn[1]


def test_a_member_s_draw_does_not_depend_on_what_follows_it(random_tokens):
  drawn = []
  member = drawing_member(drawn)
  for followers in ((), (member,), (entropic(), reinforce())):
    policy_loss(
      chain(member, *followers), aggregation.token_mean, random_tokens(0, 5, 7)
    )
  assert drawn[0] == drawn[1] == drawn[3]


@pytest.mark.parametrize(
  "field",
  [f.name for f in dataclasses.fields(ScoredTokens) if f.name != "mask"],
)
def test_a_field_of_another_shape_is_named(field, random_tokens):
  tokens = random_tokens(10, 5, 7)
  narrow = dataclasses.replace(tokens, **{field: getattr(tokens, field)[:, :1]})
  with pytest.raises(ValueError, match=rf"^{field} has shape \(5, 1\)"):
    policy_loss(ppo_clip(), aggregation.token_mean, narrow)
