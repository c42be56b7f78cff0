"""Settings that are schedules: all of them work, or say why not."""

import dataclasses
import importlib
import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import default
from entrojax import advantages, control, objectives
from entrojax.assembly import lookup, scheduling
from entrojax.assembly.check_methods import check_methods
from entrojax.assembly.methods import (
  check_over_run,
  make_apply_rules,
  make_recipe,
)
from entrojax.assembly.own_methods import own_methods, record_names
from entrojax.control import entropic_pi
from entrojax.objectives import entropic, ppo_clip
from entrojax.schedules import Scheduled, at, scheduled
from entrojax.traits import traits_of
from entrojax.types import AdvantageRule, Responses

pytestmark = pytest.mark.slow

# the only numbers that the graph needs before it is compiled
CONSTANTS = {
  *("entropic.min_probability", "siren.top_p"),
  *("dcpo.hot", "dcpo.cold"),
}


def config_of(**overrides):
  config = default.get_config()
  config.num_rollout_steps = 4
  config.update_from_flattened_dict(overrides)
  return config


def numbers(room, returns):
  """Return (method, argument, default) of each number of a room's methods."""
  return [
    (name, p.name, p.default)
    for name, make in lookup.functions(room, returns).items()
    for p in inspect.signature(make).parameters.values()
    if scheduling.accepts_schedule(p)
  ]


def with_method(name, room):
  """Return a config whose run has a method and what it needs."""
  traits = traits_of(lookup.functions(room, "Objective").get(name))
  config = config_of()
  if traits.kind == "surrogate":
    config.objective = (name,)
  else:
    config.objective = ("ppo_clip", name)
  return config


def set_length(config, controller):
  """Set the number of updates of a controller that needs it."""
  for leaf in traits_of(getattr(control, controller)).length:
    if config[controller][leaf] is None:
      config[controller][leaf] = 4


def check(config):
  recipe = make_recipe(config)
  check_over_run(recipe, config)
  return recipe


@pytest.mark.parametrize("name", lookup.functions(objectives, "Objective"))
def test_every_number_of_an_objective_may_be_a_schedule(name):
  config = with_method(name, objectives)
  if traits_of(getattr(objectives, name)).driven:
    (driver, *_) = (
      c
      for c, make in lookup.functions(control, "Controller").items()
      if name in traits_of(make).drives
    )
    config.control.update({"name": driver, "target": 0.5})
    set_length(config, driver)
  for method, leaf, value in numbers(objectives, "Objective"):
    if method != name:
      continue
    value = 0.5 if value is inspect.Parameter.empty else value
    config[name][leaf] = f"constant({value})"
    key = f"{name}.{leaf}"
    if key in CONSTANTS:
      with pytest.raises(ValueError, match=f"{key}: {name} needs a constant"):
        check(config)
    else:
      assert isinstance(check(config).members[name], Scheduled), key
    config[name][leaf] = value


@pytest.mark.parametrize(
  ("method", "leaf", "value"), numbers(advantages, "AdvantageRule")
)
def test_every_number_of_a_rule_may_be_a_schedule(method, leaf, value):
  kind = traits_of(getattr(advantages, method)).kind
  config = config_of()
  config.advantage = {
    "baseline": (method,),
    "shaping": (method, "grpo"),
    "later": ("grpo", method),
  }[kind]
  value = min(value) if isinstance(value, tuple) else value
  config[method][leaf] = f"constant({value})"
  if method == "entrocraft":
    config.entrocraft.update({"low": 0.1, "high": 0.9, leaf: "constant(0.5)"})
  assert isinstance(check(config).rules[method], Scheduled)


@pytest.mark.parametrize(
  ("method", "leaf", "value"), numbers(control, "Controller")
)
def test_every_number_of_a_controller_may_be_a_schedule(method, leaf, value):
  config = config_of(**{"control.name": method, "control.target": 0.5})
  set_length(config, method)
  (member,) = traits_of(getattr(control, method)).drives
  config.objective = with_method(member, objectives).objective
  if leaf == "target":
    config.control.target = "linear(0.5, 0.25, 4)"
  else:
    config[method][leaf] = f"constant({value})"
  controller = check(config).optimizer.controller
  assert isinstance(controller, Scheduled)
  state = at(controller, 0).transform.init({})
  now = at(controller, jnp.int32(2)).metrics(state, jnp.float32(1.0))
  expected = {"control/error": 0.625 if leaf == "target" else 0.5}
  if method == "hysteresis":  # it has no target
    expected = {"control/low": jnp.float32(value)}
  assert {name: now[name] for name in expected} == expected


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("target", "linear(0.5, 0.3, 4)"),
    ("limit", ((0, 1e-3), (4, 2e-3))),
    ("gain", "cosine(0.02, 0.01, 4)"),
    ("max_relative_correction", "constant(0.5)"),
  ],
)
def test_the_projection_may_have_schedules(key, value):
  config = config_of(**{"projection.enabled": True, "projection.target": 0.4})
  config.projection[key] = value
  optimizer = check(config).optimizer
  (part,) = optimizer.scheduled
  assert [a.key for a in part.arguments] == [f"projection.{key}"]
  params = {"w": jnp.float32(1.0)}

  @jax.jit
  def update(step):
    signals = {"entropy": jnp.float32(0.2), "entropy_grad": lambda: params}
    return optimizer.update(
      params, optimizer.init(params), params, step=step, **signals
    )

  _, state = update(jnp.int32(4))
  correction = state["adamw"].last
  # the entropy is too low by the error, and the gain or the limit bounds it
  change = {"target": 0.02 * 0.1, "limit": 2e-3, "gain": 0.01 * 0.2}
  expected = change.get(key, 2e-3)
  assert correction.wanted_change == pytest.approx(expected, rel=1e-5)


WRONG = {
  "ppo_clip.clip_high": (
    ("linear(0.2, 0.28, 3)", r"clip_high: the schedule ends after 3 .* has 4"),
    ("linear(0.2, -0.2, 4)", r"ppo_clip\.clip_high must be at least 0, got -0"),
    ((0.2, 0.28), r"ppo_clip\.clip_high = \(0\.2, 0\.28\): expected a number"),
    (True, r"ppo_clip\.clip_high = True: expected a number"),
  ),
  "ppo_clip.dual_clip": (
    ("linear(3.0, 0.0, 4)", r"ppo_clip\.dual_clip must be above 1 \+ clip_hi"),
  ),
  "optimizer.learning_rate": (
    ("linear(1e-4, 0.0, 3)", r"learning_rate: the schedule ends after 3"),
    ("linear(1e-4, -1e-4, 4)", r"optimizer\.learning_rate must lie in"),
  ),
  "control.target": (
    ("linear(0.5, 0.3)", r"control\.target = .*missing a required argument"),
    ("linear(0.5, -0.5, 4)", r"control\.target must be above 0, got 0\.0 at"),
  ),
}


@pytest.mark.parametrize(
  ("key", "value", "message"),
  [(key, *case) for key, cases in WRONG.items() for case in cases],
)
def test_a_wrong_schedule_names_its_setting(key, value, message):
  config = config_of(
    objective=("ppo_clip", "entropic"),
    **{"control.name": "entropic_pi", "control.target": 0.5, key: value},
  )
  with pytest.raises(ValueError, match=message):
    check(config)


def test_a_schedule_of_the_learning_rate_takes_no_decay():
  config = config_of(**{"optimizer.learning_rate": "linear(1e-4, 0.0, 4)"})
  assert check(config).learning_rate(2) == pytest.approx(5e-5)
  config.optimizer.decay_steps = 4
  with pytest.raises(ValueError, match=r"set optimizer\.warmup_steps and"):
    make_recipe(config)


def test_a_number_that_must_be_whole_takes_no_schedule():
  config = config_of()
  with pytest.raises(TypeError):
    config.overlong_penalty.max_length = "linear(10, 20, 4)"


def test_entrocraft_s_pairs_are_the_schedule_over_the_same_steps():
  responses = Responses(
    rewards=jnp.array([[1.0, 0.0]]),
    entropy=jnp.float32(0.55),
    rollout_step=jnp.int32(3),
  )
  results = []
  for low, anneal_steps in (((0.6, 0.4), 8), ("linear(0.6, 0.4, 16)", 0)):
    config = config_of(
      advantage=("grpo", "entrocraft"),
      num_rollout_steps=8,
      **{
        "training.updates_per_rollout": 2,
        "entrocraft.low": low,
        "entrocraft.high": 0.9,
        "entrocraft.anneal_steps": anneal_steps,
      },
    )
    apply = make_apply_rules(check(config).rules)
    done = jax.jit(apply)(responses, 6)
    results.append((done.advantages, done.keep))
    np.testing.assert_array_equal(
      done.metrics["entrocraft/low"].total,
      np.float32(0.6) + np.float32(0.4 - 0.6) * np.float32(3 / 8),
    )
  assert done.metrics["schedule/entrocraft.low"].total == pytest.approx(0.525)
  jax.tree.map(np.testing.assert_array_equal, *results)


def test_functions_that_are_passed_may_have_schedules_of_optax():
  target = optax.linear_schedule(0.5, 0.25, 4)
  own = own_methods(
    {
      "ppo_clip": scheduled(ppo_clip, clip_high=optax.constant_schedule(0.3)),
      "entropic": entropic(),
    },
    scheduled(grpo_like, scale=lambda step: 1.0 + step),
    scheduled(entropic_pi, target=target),
  )
  config = record_names(config_of(), own, None)
  assert config.control.name == "entrojax.control.pi.entropic_pi:entropic_pi"
  recipe = make_recipe(config, own)
  check_over_run(recipe, config)
  assert isinstance(recipe.members["ppo_clip"], Scheduled)
  apply = make_apply_rules(recipe.rules)
  done = apply(Responses(rewards=jnp.ones((1, 2))), 6)
  np.testing.assert_array_equal(done.advantages, [[7.0, 7.0]])
  low = scheduled(entropic_pi, target=optax.linear_schedule(0.5, -0.5, 4))
  with pytest.raises(ValueError, match=r"control\.target must be above 0"):
    own = own._replace(controller=low)
    check_over_run(make_recipe(config, own), config)


def grpo_like(*, scale: float) -> AdvantageRule:
  return lambda responses: dataclasses.replace(
    responses, advantages=scale * responses.rewards
  )


FITS = {"num_rollout_steps": 2, "training.updates_per_rollout": 2}


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    (
      {"optimizer.warmup_steps": 5},
      "warmup_steps: .* 5 .* has 4, .* at 80%",
    ),
    ({"optimizer.decay_steps": 40}, "decay_steps: .* 40 .* has 4, .* at 10%"),
    (
      {"optimizer.decay_steps": 3, "optimizer.end_fraction": 0.1},
      r"decay_steps = 3: .* learning rate is 0\.1 of its peak",
    ),
    ({"ppo_clip.clip_high": "linear(0.2, 0.3, 8)"}, "clip_high: .* at 50%"),
    (
      {"advantage": ("grpo", "entrocraft"), "entrocraft.anneal_steps": 20},
      "anneal_steps: the schedule takes 20 rollout steps .* has 2, .* 10%",
    ),
    (
      {
        "objective": ("ppo_clip", "positive_reweighting"),
        "control.name": "epoch_schedule",
        "epoch_schedule": {"num_epochs": 2, "updates_per_epoch": 4},
      },
      "num_epochs x epoch_schedule.updates_per_epoch: .* 8 optimizer .* 50%",
    ),
  ],
)
def test_a_schedule_that_does_not_fit_the_run_is_warned_of(settings, message):
  config = config_of(**FITS, **settings)
  with pytest.warns(UserWarning, match=message):
    check_methods(config)
    check(config)


@pytest.mark.parametrize("name", ["countdown", "logic", "entrocraft", "sent"])
def test_the_schedules_of_configs_follow_the_length_of_the_run(name):
  config = importlib.import_module(f"configs.{name}").get_config()
  config.num_rollout_steps = 30
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    check_methods(config)
  config.optimizer.decay_steps = 7  # what is set stays
  config.num_rollout_steps = 40
  assert config.optimizer.decay_steps == 7


@pytest.mark.parametrize(
  ("name", "section", "pace"),
  [
    ("positive_reweighting", "entropy_guided", 0.05),
    ("adaptive_entropy", "adaptive_coefficient", 1e-4),
    ("adaptive_stare", "stare_weights", 0.01),
  ],
)
def test_a_controller_moves_at_its_paper_s_pace(name, section, pace):
  config = importlib.import_module(f"configs.{name}").get_config()
  for updates in (4, 1):
    config.training.updates_per_rollout = updates
    assert updates * config[section].step == pytest.approx(pace)
