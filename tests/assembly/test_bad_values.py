"""A wrong value is named before anything is compiled."""

import jax
import pytest

from entrojax.assembly.check_settings import check
from entrojax.assembly.run import build
from tests.helpers.system import tiny_config

pytestmark = [pytest.mark.usefixtures("session_data"), pytest.mark.slow]


WRONG = {
  "rollout.group_size": (1, r"rollout\.group_size must be at least 2, got 1"),
  "rollout.temperature": (0.0, r"rollout\.temperature must be above 0"),
  "rollout.prompt_buckets": ((8, 4), r"\(8, 4\) must ascend .* to below"),
  "rollout.prompt_length": (
    3,
    r"more than rollout\.prompt_length=3 .* row 0, has 11",
  ),
  "rollout.num_prompts": (0, r"rollout\.num_prompts must be at least 1"),
  "rollout.top_p": (0.0, r"top_p must lie in \(0, 1\], got 0"),
  "ppo_clip.clip_low": (
    1.5,
    r"ppo_clip\.clip_low must lie in \[0, 1\], got 1\.5",
  ),
  "ppo_clip.clip_high": (
    -0.1,
    r"ppo_clip\.clip_high must be at least 0, got -0\.1",
  ),
  "ppo_clip.dual_clip": (
    1.1,
    r"ppo_clip\.dual_clip must be above 1 \+ clip_high",
  ),
  "dynamic_sampling.max_batches": (0, r"max_batches must be at least 1, got 0"),
  "dynamic_sampling.on_exhausted": ("stop", r"on_exhausted must be one of"),
  "training.num_microbatches": (
    3,
    r"responses of a mini-batch .* 3 training.num_microbatches",
  ),
  "training.response_buckets": (
    (8, 4),
    r"response_buckets = \(8, 4\) must ascend .* to below rollout\.response_l",
  ),
  "training.updates_per_rollout": (3, r"num_prompts = 8 do not divide"),
  "training.num_epochs": (3, r"not a multiple of training\.num_epochs = 3"),
  "mesh": ((3, 1, 1), r"needs 3 devices"),
  "model.fused_attention": (True, r"model\.fused_attention is True.*'cpu'"),
  "objective": (("ppo_clop",), r"did you mean 'ppo_clip'"),
  "advantage": (("grop",), r"advantage: there is no 'grop'.*'grpo'"),
  "aggregation": ("token_mean", r"aggregation must be one of .*'token_mean'"),
  "control.name": ("entropic_pi", r"control\.target is not set"),
  "task.name": ("countdwon", r"did you mean 'countdown'"),
  "task.difficulty": (9, r"task\.difficulty must lie in 1\.\.2 for countdown"),
  "task.train_split": ("trian", r"'trian' is not a split"),
  "evaluation.split": ("validation[:0]", r"holds no problem|empty"),
  "model.path": ("/no/such/folder", r"model\.path: /no/such/folder"),
  "optimizer.learning_rate": (0.0, r"optimizer\.learning_rate must be above 0"),
  "alarms.collapse": ("halt", r"alarms\.collapse must be one of"),
  "alarms.window": (0, r"alarms\.window must be at least 1"),
  "checkpoint.keep": (0, r"checkpoint\.keep must be at least 1"),
  "checkpoint.minutes": (-1.0, r"checkpoint\.minutes must be at least 0"),
  "checkpoint.keep_best": ("val/x", r"evaluation\.every is 0: a run that is"),
  "log.keep_batches": (
    (1, 7),
    r"keep_batches = \(1, 7\) names the rollout step \[7\], and the run ends",
  ),
  "ledger.every": (2, r"ledger\.every = 2 would do nothing"),
  "alarms.roll_back": (
    ("ppo_clip.clip_high", 0.3),
    r"alarms\.roll_back = .* would do nothing: set an alarm",
  ),
  "evaluation.token_samples": (9, r"token_samples = 9 is more than the 4 sa"),
}


# evaluation.tasks: each wrong value with its message
WRONG_SETS = (
  (
    ("countdown:test", 8),
    r"evaluation\.tasks has the item 8; expected a label",
  ),
  ((("countdown:test", 8, 1),), r"has the item \('countdown:test', 8, 1\)"),
  ((("countdown:test", 2.0),), r"has the item \('countdown:test', 2\.0\)"),
  (
    (("countdown:test", 0),),
    r"'countdown:test' needs at least 1 sample, got 0",
  ),
  (
    ("countdown#x",),
    r"evaluation\.tasks: 'countdown#x' is not of the form NAME",
  ),
  (
    2 * ("countdown:test",),
    r"evaluation\.tasks: 'countdown:test' is given twice",
  ),
  (
    ("countdown:test[:8]", "countdwon"),
    r"evaluation\.tasks: countdwon: .*did you mean 'countdown'",
  ),
  (("countdown:tset",), r"countdown:tset: split='tset' is not a split"),
  (("countdown#9:test",), r"countdown#9:test: task\.difficulty must lie in"),
)


@pytest.mark.parametrize(("sets", "message"), WRONG_SETS)
def test_a_wrong_evaluation_set_is_named_before_anything_is_compiled(
  sets, message, base, one_device
):
  with pytest.raises(ValueError, match=message):
    build(tiny_config(base, **{"evaluation.tasks": sets}))


@pytest.mark.parametrize("name", ["pass@7", "maj@8"])
def test_a_best_checkpoint_by_a_k_that_no_evaluation_has_is_refused(name, base):
  """An evaluation of four samples has k = 1, 2 and 4."""
  best = {"checkpoint.keep_best": f"val/countdown/{name}"}
  config = tiny_config(base, **best, **{"evaluation.every": 1})
  with pytest.raises(ValueError, match=r"@k for k = 1, 2, 4"):
    check(config)
  for metric in ("val/countdown/pass@4", "val/countdown/entropy"):
    config.checkpoint.keep_best = metric
    check(config)


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_value_is_named(key, base, one_device):
  value, message = WRONG[key]
  with pytest.raises(ValueError, match=message):
    build(tiny_config(base, **{key: value}))


def test_response_buckets_without_micro_batches_are_refused(base):
  buckets = {"training.response_buckets": (4,)}
  message = r"response_buckets = \(4,\) .* training\.num_microbatches is 1"
  with pytest.raises(ValueError, match=message):
    check(tiny_config(base, **buckets))


def test_a_ledger_with_fused_attention_is_refused(base):
  both = {"ledger.every": 2, "model.fused_attention": True}
  with pytest.raises(ValueError, match=r"ledger\.every = 2 and model\.fused"):
    build(tiny_config(base, **both))


def test_a_batch_that_does_not_divide_over_the_mesh_is_named(base):
  config = tiny_config(base, **{"mesh": (8, 1, 1), "rollout.num_prompts": 12})
  config.training.updates_per_rollout = 1
  assert len(jax.devices()) == 8
  with pytest.raises(
    ValueError, match=r"num_prompts = 12 .* 8 devices of mesh"
  ):
    build(config)


MORE = {
  "seed": (-1, r"seed must be at least 0"),
  "ppo_clip.clip_high": (float("nan"), r"ppo_clip\.clip_high must be finite"),
  "objective": (("erc", "ppo_clip"), r"after a surrogate"),
  "optimizer.max_grad_norm": (0.0, r"optimizer\.max_grad_norm must be above 0"),
  "optimizer.b1": (2.0, r"optimizer\.b1 must lie in \[0, 1\)"),
  "optimizer.weight_decay": (-1.0, r"optimizer\.weight_decay must be at"),
  "optimizer.warmup_steps": (-1, r"optimizer\.warmup_steps must be at"),
  "optimizer.mu_dtype": ("float16", r"optimizer\.mu_dtype must be one of"),
  "control.target": (0.4, r"control\.target is 0\.4 but control\.name"),
  "mesh": ((-1, 0, 1), r"mesh sizes are -1 or positive"),
}


@pytest.mark.parametrize("key", MORE)
def test_what_would_run_and_be_wrong_is_named(key, base, one_device):
  value, message = MORE[key]
  with pytest.raises(ValueError, match=message):
    build(tiny_config(base, **{key: value}))
