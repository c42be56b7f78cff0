"""Test how a chain composes members, gives them keys and refuses errors."""

import dataclasses

import jax
import numpy as np
import pytest

from entrojax.objectives import (
  adaptive_entropy,
  adaptive_stare,
  aggregation,
  chain,
  entropic,
  entropy_advantage,
  entropy_bonus,
  erc,
  kl_cov,
  policy_loss,
  positive_reweighting,
  ppo_clip,
  reinforce,
  stare,
  steer,
  top_entropy,
)
from entrojax.types import ScoredTokens, TokenLoss
from tests.helpers.objective_cases import evaluate, few_tokens, near


def test_a_chain_of_nothing_is_refused():
  with pytest.raises(ValueError, match="at least one objective"):
    chain()
  with pytest.raises(ValueError, match=r"^chain got 'ppo_clip'; exp"):
    chain("ppo_clip")


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
    evaluate(chain(transform, ppo_clip()), random_tokens(0, 5, 7))


def test_both_forms_of_stare_report_what_they_touch(random_tokens):
  tokens = random_tokens(0, 5, 7)
  objective = chain(
    ppo_clip(), stare(target=9.0, fraction=1.0), adaptive_stare(target=0.0)
  )
  _, metrics = policy_loss(
    objective, aggregation.token_mean, tokens, coefficient=1.2
  )
  assert metrics["stare/active"].total == 1
  assert metrics["stare/touched"].total > 0
  assert metrics["adaptive_stare/active"].total == 0
  assert metrics["adaptive_stare/touched"].total == 0


def test_a_transform_that_stands_in_a_chain_twice_is_refused(random_tokens):
  with pytest.raises(ValueError, match=r"report \['erc/touched'\].*no member"):
    evaluate(chain(ppo_clip(), erc(), erc()), random_tokens(0, 5, 7))


def test_the_members_of_a_chain_add(random_tokens):
  tokens = random_tokens(11, 5, 7)
  members = (ppo_clip(), entropic(), entropy_bonus(entropy_coef=0.1))
  (loss, _), gradients = evaluate(chain(*members), tokens)
  alone = [evaluate(member, tokens) for member in members]
  near(loss, sum(value[0] for value, _ in alone))
  near(gradients, jax.tree.map(lambda *g: sum(g), *(g for _, g in alone)))


def drawing_member(draws):
  """Build a member that draws from its key and appends the draw to `draws`."""

  def member(tokens, token_loss, coefficient, key):
    draws.append(float(jax.random.uniform(key)))
    return TokenLoss(
      (*token_loss.terms, *ppo_clip()(tokens, token_loss, 0.0, key).terms), {}
    )

  return member


def test_each_member_of_a_chain_draws_from_its_own_key(random_tokens):
  draws = []
  member = drawing_member(draws)
  policy_loss(
    chain(member, member), aggregation.token_mean, random_tokens(0, 5, 7)
  )
  assert draws[0] != draws[1]


def test_a_member_s_draw_does_not_depend_on_what_follows_it(random_tokens):
  draws = []
  member = drawing_member(draws)
  for followers in ((), (member,), (entropic(), reinforce())):
    policy_loss(
      chain(member, *followers),
      aggregation.token_mean,
      random_tokens(0, 5, 7),
      coefficient=0.0,
    )
  assert draws[0] == draws[1] == draws[3]


@pytest.mark.parametrize(
  "field",
  [
    field.name
    for field in dataclasses.fields(ScoredTokens)
    if field.name not in ("mask", "statistics")
  ],
)
def test_a_field_of_another_shape_is_named(field, random_tokens):
  tokens = random_tokens(10, 5, 7)
  narrow = dataclasses.replace(tokens, **{field: getattr(tokens, field)[:, :1]})
  with pytest.raises(ValueError, match=rf"^{field} has shape \(5, 1\)"):
    policy_loss(ppo_clip(), aggregation.token_mean, narrow)


@pytest.mark.parametrize("first", [True, False])
def test_no_member_weighs_a_penalty_wherever_it_stands(first, random_tokens):
  tokens = random_tokens(3, 5, 7)
  bonus, weight = entropy_bonus(entropy_coef=0.1), top_entropy(fraction=0.4)
  members = (bonus, weight) if first else (weight, bonus)
  loss_of = lambda objective: policy_loss(
    objective, aggregation.token_mean, tokens
  )[0]
  together = loss_of(chain(ppo_clip(), *members))
  # the two aggregates, added in either order
  np.testing.assert_allclose(
    together, loss_of(chain(ppo_clip(), weight)) + loss_of(bonus), rtol=1e-6
  )


def test_selection_leaves_the_pull_of_kl_cov_whole(random_tokens):
  tokens = random_tokens(4, 5, 7)
  loss_of = lambda *members: policy_loss(
    chain(*members), aggregation.token_mean, tokens
  )[0]
  pull = few_tokens(kl_cov, fraction=0.2), few_tokens(kl_cov, kl_coef=0.0)
  weight = top_entropy(fraction=0.4)
  np.testing.assert_allclose(
    loss_of(pull[0], weight) - loss_of(pull[1], weight),
    loss_of(pull[0]) - loss_of(pull[1]),
    # differences of numbers of order 1
    atol=1e-6,
  )
  assert loss_of(pull[0]) - loss_of(pull[1]) > 1e-3


@pytest.mark.parametrize(
  ("name", "member"),
  [
    ("entropic", entropic()),
    ("positive_reweighting", positive_reweighting()),
    ("adaptive_entropy", adaptive_entropy()),
    ("adaptive_stare", adaptive_stare()),
  ],
)
def test_a_driven_member_without_a_controller_is_refused(
  name, member, random_tokens
):
  with pytest.raises(ValueError, match=f"{name} needs the coefficient"):
    policy_loss(
      chain(ppo_clip(), member), aggregation.token_mean, random_tokens(0, 5, 7)
    )
