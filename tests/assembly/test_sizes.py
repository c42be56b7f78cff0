"""Numbers that do not fit are refused; likely mistakes are warned about."""

import pytest

from entrojax.assembly.check_settings import check
from entrojax.assembly.check_sizes import (
  check_against_model,
  check_batch_sizes,
  check_integers,
  warn_of_shared_problems,
)
from entrojax.update.optimizer import learning_rate_schedule
from tests.helpers.system import SIZES, tiny_config

HUGE = 10**12


@pytest.mark.parametrize(
  "key",
  [
    "seed",
    "num_rollout_steps",
    "rollout.num_prompts",
    "rollout.group_size",
    "rollout.prompt_length",
    "rollout.response_length",
    "evaluation.num_samples",
    "evaluation.prompts_per_batch",
    "checkpoint.keep",
    "entrocraft.anneal_steps",
    "lora.rank",
  ],
)
def test_a_number_that_does_not_fit_32_bits_is_refused(key, tmp_path):
  with pytest.raises(ValueError, match=rf"^{key} must be below 2\^31"):
    check(tiny_config(tmp_path, **{key: HUGE}))


def test_a_batch_of_more_tokens_than_32_bits_count_is_refused(tmp_path):
  # 8 prompts x 20,000,000 responses of 11 + 12 tokens
  config = tiny_config(tmp_path, **{"rollout.group_size": 2 * 10**7})
  with pytest.raises(ValueError, match=r"160000000 rows .* are 3680000000 tok"):
    check(config)


@pytest.mark.parametrize("mesh", [("a", 1, 1), (1.5, 1, 1), (1, 1)])
def test_a_mesh_that_is_not_three_whole_numbers_is_refused(mesh, tmp_path):
  with pytest.raises(ValueError, match="mesh must be three whole numbers"):
    check(tiny_config(tmp_path, mesh=mesh))


@pytest.mark.parametrize("key", ["model.dtype", "model.product_dtype"])
def test_an_unknown_type_of_activations_or_operands_is_refused(key, tmp_path):
  with pytest.raises(ValueError, match=f"{key} must be one of 'float32"):
    check(tiny_config(tmp_path, **{key: "flaot32"}))


def test_a_learning_rate_that_would_rise_at_its_end_is_refused():
  with pytest.raises(ValueError, match=r"end_fraction must lie in \[0, 1\]"):
    learning_rate_schedule(
      peak=1.0, warmup_steps=0, decay_steps=9, end_fraction=2.0
    )


def test_a_warm_up_longer_than_the_run_is_warned_about(tmp_path):
  config = tiny_config(tmp_path, **{"optimizer.warmup_steps": 1000})
  with pytest.warns(UserWarning, match=r"takes 1000 .* and the run has 4, so"):
    check(config)


@pytest.mark.parametrize(
  ("split", "shared"),
  [
    ("train[:8]", True),
    ("train[-8:]", True),
    ("train[512:]", False),
    ("validation[:8]", False),
  ],
)
def test_an_evaluation_on_training_problems_is_warned_about(
  split, shared, tmp_path, recwarn
):
  check(tiny_config(tmp_path, **{"evaluation.split": split}))
  texts = [str(warning.message) for warning in recwarn]
  assert any("share problems" in text for text in texts) == shared


@pytest.mark.parametrize(
  ("settings", "text"),
  [
    ({"control.target": 100.0}, r"control\.target is 100 nats,"),
    ({"projection.target": 4}, r"projection\.target is 4 nats,"),
    (
      {"objective": ("ppo_clip", "stare"), "stare.target": 4.0},
      r"stare\.target is 4 nats,",
    ),
    (
      {
        "objective": ("ppo_clip", "adaptive_stare"),
        "adaptive_stare.target": 4.0,
      },
      r"adaptive_stare\.target is 4 nats,",
    ),
    (
      {"objective": ("ppo_clip", "dcpo"), "dcpo.target": 4.0},
      r"dcpo\.target is 4 nats,",
    ),
    (
      {"advantage": ("grpo", "entrocraft"), "entrocraft.high": (4.0, 0.5)},
      r"entrocraft\.high is 4 nats,",
    ),
    (
      {"advantage": ("grpo", "entrocraft"), "entrocraft.low": 5.0},
      r"entrocraft\.low is 5 nats,",
    ),
    # two rollout steps of two updates: the steps 0 to 3
    (
      {"control.target": "linear(1, 5, 4)"},
      r"control\.target is 4 nats at optimizer step 3,",
    ),
    (
      {
        "objective": ("ppo_clip", "stare"),
        "stare.target": ((0, 0.5), (2, 3.5), (9, 1.0)),
      },
      r"stare\.target is 3\.5 nats at optimizer step 2,",
    ),
  ],
)
def test_an_entropy_above_the_highest_is_refused(settings, text, tmp_path):
  config = tiny_config(tmp_path, **settings)
  assert config.num_rollout_steps == config.training.updates_per_rollout == 2
  message = rf"^{text} and the entropy .* at most ln 22 = 3\.09"
  with pytest.raises(ValueError, match=message):
    check_against_model(config, SIZES)


def test_an_entropy_that_no_method_of_the_run_reads_is_left_alone(tmp_path):
  check_against_model(tiny_config(tmp_path, **{"stare.target": 4.0}), SIZES)


def test_a_rank_above_the_narrowest_side_is_warned_about(tmp_path):
  config = tiny_config(tmp_path, **{"lora.rank": 1000})
  message = r"lora\.rank is 1000, .* has a side of 8"
  with pytest.warns(UserWarning, match=message):
    check_against_model(config, SIZES)


def test_the_checks_of_sizes_leave_a_config_alone_that_fits(tmp_path, recwarn):
  config = tiny_config(
    tmp_path, **{"control.target": 3.0, "lora.rank": 8, "seed": 2**31 - 1}
  )
  check_integers(config)
  check_batch_sizes(config)
  warn_of_shared_problems(config)
  check_against_model(config, SIZES)
  assert not recwarn.list
