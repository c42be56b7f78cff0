"""Schedules: their values, how configs write them, and parts that use them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from entrojax.arguments import require_in
from entrojax.objectives import chain, policy_loss, ppo_clip
from entrojax.objectives.aggregation import token_mean
from entrojax.schedules import (
  at,
  check_over_run,
  fed,
  linear,
  parse_schedule,
  scheduled,
)


@pytest.mark.parametrize(
  ("written", "steps", "expected"),
  [
    ("constant(0.25)", (0, 9), (0.25, 0.25)),
    ("linear(1.0, 0.5, 4)", (0, 1, 4, 9), (1.0, 0.875, 0.5, 0.5)),
    ("linear(start=1, end=2, steps=2)", (0, 1, 2), (1.0, 1.5, 2.0)),
    ("cosine(1.0, 0.0, 4)", (0, 2, 4, 9), (1.0, 0.5, 0.0, 0.0)),
    ("cosine(0.0, 2.0, 3)", (1,), (2 - 2 * 0.75,)),  # (1 + cos 60°) / 2
    ("piecewise((0, 0.5), (3, 0.25))", (0, 2, 3, 9), (0.5, 0.5, 0.25, 0.25)),
    ("up_then_down(0, 1, 2, 6)", (0, 1, 2, 4, 6), (0, 0.5, 1, 0.5, 0)),
    ("points((0, 1), (2, 3), hold=True)", (0, 1, 9), (1, 2, 3)),
    (((0, 0.5), (2, 1.0), (4, 0.0)), (0, 1, 2, 3, 4), (0.5, 0.75, 1, 0.5, 0)),
  ],
)
def test_a_schedule_has_its_values(written, steps, expected):
  schedule = jax.jit(parse_schedule(written, "a.b").value)
  values = [schedule(jnp.int32(step)) for step in steps]
  np.testing.assert_allclose(values, expected, atol=1e-7)  # float32


@pytest.mark.parametrize(
  ("written", "message"),
  [
    ("linar(0.5, 0.3, 6)", "no schedule 'linar'.*did you mean 'linear'"),
    ("linear(0.5, 0.3)", "missing a required argument: 'steps'; it is linear"),
    ("linear(0.5, 0.3, 0)", "must be a whole number of at least 1, got 0"),
    ("linear(0.5, 0.3, 6.0)", "must be a whole number of at least 1, got 6.0"),
    ("linear(0.5, 'x', 3)", "'x' is not a finite number"),
    ("constant(1e999)", "inf is not a finite number"),
    ("linear", "expected a number, pairs"),
    ("linear(0.5, 0.3, x)", "expected a number, pairs"),
    ("__import__('os').getcwd()", "expected a number, pairs"),
    (((0, 0.5), (4,)), r"\(4,\) is not a pair"),
    (((0, 0.5), (2.5, 1.0)), r"\(2\.5, 1\.0\) .*step is a whole number"),
    (((1, 0.5), (4, 0.1)), r"steps \[1, 4\] must begin at 0 and ascend"),
    (((0, 0.5), (0, 0.1)), r"steps \[0, 0\] must begin at 0 and ascend"),
    ("up_then_down(0, 1, 6, 4)", r"steps \[0, 6, 4\] must begin at 0"),
    ((0.5, 0.3), "expected a number, pairs"),
    (True, "expected a number, pairs"),
  ],
)
def test_a_malformed_schedule_is_named_by_its_setting(written, message):
  with pytest.raises(ValueError, match=f"a.b = .*{message}"):
    parse_schedule(written, "a.b")


def test_a_scheduled_member_is_the_member_with_the_numbers_of_the_step(
  random_tokens,
):
  tokens = random_tokens(0, 4, 3)
  high = optax.linear_schedule(0.2, 0.6, 4)
  member = scheduled(ppo_clip, clip_low=0.1, clip_high=high)

  traces = []

  @jax.jit
  def loss_at(step):
    traces.append(step)
    objective = chain(at(member, step))
    return policy_loss(objective, token_mean, tokens)[0], fed([member], step)

  for step, value in ((0, 0.2), (2, 0.4), (9, 0.6)):
    loss, numbers = loss_at(step)
    objective = chain(ppo_clip(clip_low=0.1, clip_high=value))
    expected, _ = policy_loss(objective, token_mean, tokens)
    assert loss == pytest.approx(float(expected), rel=1e-6)  # float32 sums
    (used,) = numbers.values()
    assert used == pytest.approx(value, rel=1e-6)
    assert list(numbers) == ["schedule/ppo_clip.clip_high"]
  assert len(traces) == 1


def test_a_scheduled_member_does_not_pass_for_the_member():
  member = scheduled(ppo_clip, clip_high=linear(0.2, 0.3, 4))
  with pytest.raises(ValueError, match=r"ppo_clip\.clip_high changes over the"):
    chain(member)(None, None, None, jax.random.key(0))
  with pytest.raises(ValueError, match=r"clip_high is a function.*scheduled\("):
    ppo_clip(clip_high=linear(0.2, 0.3, 4))


@pytest.mark.parametrize(
  ("schedule", "message"),
  [
    (linear(0.1, 0.2, 7), "x.y: the schedule ends after 7 optimizer .* has 8"),
    (linear(0.0, 1.4, 8), r"x.y must lie in \[0, 1\], got 1.05 at .* step 6"),
    (lambda step: 1 / (step - 5), "x.y: the schedule is inf at step 5"),
  ],
)
def test_a_schedule_is_checked_in_every_step_of_the_run(schedule, message):
  def x(y):
    require_in("x.y", y, "[0, 1]")

  part = scheduled(x, y=schedule)
  with pytest.raises(ValueError, match=message):
    check_over_run(part, 8)
  check_over_run(scheduled(x, y=linear(0.1, 0.2, 7, hold=True)), 8)
  check_over_run(x, 8)  # nothing in it is scheduled
