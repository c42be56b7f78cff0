"""What a config builds: methods, and functions that runs share."""

import jax.numpy as jnp
import pytest

from configs import default
from entrojax.assembly.methods import make_controller, make_members
from entrojax.assembly.run import build
from entrojax.assembly.trials import needs_reference
from entrojax.control import PIState
from entrojax.objectives import chain
from tests.helpers.system import tiny_config, write_base

MEMBERS = (
  "entropic",
  "entropy_bonus",
  "erc",
  "positive_reweighting",
  "reference_kl",
  "sent",
  "sent_released",
  "stare",
  "top_entropy",
)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_reference_is_needed_by_who_reads_it(name):
  config = default.get_config()
  config.objective = ("ppo_clip", name)
  needed = needs_reference(chain(*make_members(config).values()))
  assert needed == (name in ("reference_kl", "sent"))


def test_a_controller_has_its_target_and_the_settings_of_its_section():
  config = default.get_config()
  config.control.update({"name": "entropic_pi", "target": 0.5})
  config.entropic_pi.update({"kp": 3.0, "ki": 0.25})
  controller = make_controller(config)
  state = PIState(integral=jnp.float32(0.5))
  # exact in binary
  coefficient = controller.coefficient(state, jnp.float32(0.625))
  assert coefficient == 3.0 * 0.125 + 0.25 * 0.5


def test_a_schedule_has_the_settings_of_its_section():
  config = default.get_config()
  config.control.name = "stage_schedule"
  config.stage_schedule.num_updates = 4
  controller = make_controller(config)
  state, weights = controller.transform.init(()), []
  for _ in range(5):
    weights.append(float(controller.coefficient(state, jnp.float32(0.3))))
    _, state = controller.transform.update((), state, entropy=jnp.float32(0.3))
  assert weights == [0, 0, 0, 0.5, 1]


@pytest.mark.slow
def test_runs_that_sample_alike_share_one_compiled_sampler(
  tmp_path, session_data, one_device
):
  base = write_base(tmp_path / "tiny")
  first, same = (build(tiny_config(base)) for _ in range(2))
  warmer = build(tiny_config(base, **{"rollout.temperature": 1.5}))
  sampler = lambda run: run.functions.generate.__wrapped__
  assert sampler(first) is sampler(same)
  assert sampler(first) is not sampler(warmer)
  sets = ("countdown:test[:8]", ("countdown:train[:3]", 4), ("countdown", 2))
  several = build(tiny_config(base, **{"evaluation.tasks": sets}))
  assert [s.num_samples for s in several.evaluation_sets] == [4, 4, 2]
  assert several.functions.evaluate.keys() == {4, 2}
  one = first.functions.evaluate[4].__wrapped__
  assert several.functions.evaluate[4].__wrapped__ is one


@pytest.mark.slow
def test_runs_that_learn_alike_share_one_compiled_update(
  tmp_path, session_data, one_device
):
  base = write_base(tmp_path / "tiny")
  restart = lambda **overrides: (
    build(tiny_config(base, **overrides)).functions.restart
  )
  first = restart()
  # neither the data nor how a batch is filled is part of an update
  others = {"task.train_split": "train[:64]", "dynamic_sampling.enabled": True}
  assert restart(seed=1, **others) is first
  assert restart(**{"optimizer.learning_rate": 1e-5}) is not first
