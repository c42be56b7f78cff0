"""Offline runs: recorded rollouts, their batches, and the run on them."""

import json
import zlib

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from entrojax.assembly import offline as offline_module
from entrojax.assembly.check_overrides import check_overrides
from entrojax.assembly.check_settings import check
from entrojax.assembly.data import rollout_settings
from entrojax.assembly.offline import collect
from entrojax.assembly.run import build
from entrojax.data import tokenizer
from entrojax.rollouts import recorded
from entrojax.train import train
from entrojax.types import Verdict
from tests.helpers.commands import run_command
from tests.helpers.system import numbers, tiny_config, write_base

pytestmark = [
  pytest.mark.usefixtures("one_device", "session_data"),
  pytest.mark.slow,
]


def verify(problem, response):
  """One response in three is right, by a hash."""
  right = zlib.crc32((problem.prompt + response).encode()) % 3 == 0
  return Verdict(float(right), "hash", response)


def judge_steps(problem, steps):
  """Steps without a digit are right."""
  return [not any(c.isdigit() for c in step) for step in steps]


@pytest.fixture(autouse=True)
def judged_by_hash(monkeypatch):
  """Replace verifier and oracle; return the function that opens real tasks."""
  open_task = offline_module.open_task
  monkeypatch.setattr(
    offline_module,
    "open_task",
    lambda *args: open_task(*args)._replace(
      verify=verify, judge_steps=judge_steps
    ),
  )
  return open_task


def offline(base, **overrides):
  """Return a config of 20 prompts in batches of 8, four responses each."""
  return tiny_config(
    base,
    **{
      "offline.enabled": True,
      "offline.num_prompts": 20,
      "objective": ("bcpg", "negative_sample_augmentation"),
      "advantage": ("dr_grpo",),
      "aggregation": "seq-mean-token-mean",
      "judges": ("oracle",),
      "rules.min_length": 1,
      "rules.separators": ("+", "-", "*", "/"),
      "training.updates_per_rollout": 1,
      "num_rollout_steps": 4,
      **overrides,
    },
  )


@pytest.fixture(scope="module")
def rollouts(base, tmp_path_factory):
  """Return the file of the plain config, made once."""
  return tmp_path_factory.mktemp("rollouts") / "rollouts.jsonl"


@pytest.fixture
def made(rollouts, base):
  if not rollouts.exists():  # once: the fixtures it needs are of a test each
    list(collect(offline(base), rollouts))
  return rollouts


def lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_holds_every_response_and_steps_of_the_wrong_ones(made, base):
  head, *rows = lines(made)
  assert head["num_rows"] == len(rows) == 20 * 4
  assert head["settings"]["judges"] == {"oracle": {}}
  words = tokenizer.load(base)
  judged = 0
  for group in zip(*[iter(rows)] * 4, strict=True):
    rewards = {row["reward"] for row in group}
    for row in group:
      assert row["prompt"] == group[0]["prompt"]
      assert row["response"] == words.decode(row["tokens"])
      assert row["truncated"] == (row["tokens"][-1] not in words.eos_ids)
      assert row["reward"] == float(
        zlib.crc32((row["prompt"] + row["response"]).encode()) % 3 == 0
      )
      steps = [row["response"][a:b] for a, b in row["steps"]]
      if len(rewards) == 1 or row["reward"]:
        assert not steps and not row["verdicts"]
        continue
      judged += 1
      assert "".join(steps) == row["response"]
      assert row["verdicts"] == {"oracle": judge_steps(None, steps)}
  assert judged > 10


def test_a_file_in_two_parts_is_the_file_in_one(made, base, tmp_path):
  parts = tmp_path / "parts.jsonl"
  steps = collect(offline(base), parts)
  assert [next(steps), next(steps)] == [(0, 20), (8, 20)]
  steps.close()  # gives up the lock of the file
  with parts.open("a") as file:  # what a kill leaves
    file.write(made.read_text().splitlines(keepends=True)[33])
    file.write('{"problem": 1')
  assert list(collect(offline(base), parts)) == [(8, 20), (16, 20), (20, 20)]
  assert parts.read_text() == made.read_text()


def test_a_file_of_another_model_or_other_judges_is_not_gone_on_with(
  made, base, tmp_path
):
  for overrides, message in (
    ({"rollout.temperature": 0.7}, r"rollout\.temperature was 1\.0, is 0\.7"),
    ({"rules.min_length": 2}, r"rules\.min_length was 1, is 2"),
  ):
    with pytest.raises(ValueError, match=message):
      next(collect(offline(base, **overrides), made))


def test_batches_hold_what_the_file_says(made, base):
  config = offline(base)
  run = build(config, made)
  recording = run.recorded
  groups = np.array([2, 0, 5])
  rollout = recording.rollout(groups)
  responses = recording.group_responses(rollout, groups, rollout_step=0)
  step_ok = recording.steps_ok(groups)
  words, (prompts, length) = run.data.tokenizer, (11, 12)
  kept = recorded.read(made).kept
  rows = [row for g in groups for row in kept[g]]
  assert responses.rewards.reshape(-1).tolist() == [r.reward for r in rows]
  for i, row in enumerate(rows):
    count = len(row.tokens)
    assert rollout.tokens[i, prompts : prompts + count].tolist() == row.tokens
    prompt = words.encode_prompt(row.prompt)
    assert rollout.tokens[i, prompts - len(prompt) : prompts].tolist() == prompt
    assert rollout.response_mask[i].tolist() == [1] * count + [0] * (
      length - count
    )
    before = rollout.positions[i, prompts - 1]
    assert before == len(prompt) - 1
    assert rollout.positions[i, prompts : prompts + count].tolist() == list(
      range(before + 1, before + 1 + count)
    )
    # the tokens of the steps that the judge calls right, a character each
    verdicts = row.verdicts.get("oracle", [])
    right = [
      ok
      for (a, b), ok in zip(row.steps, verdicts, strict=True)
      for _ in range(a, b)
    ]
    place, marks = 0, []
    for token in row.tokens:  # special ones have no character
      marks.append(place < len(right) and right[place])
      place += len(words.decode([token]))
    assert step_ok[i].tolist() == marks + [0] * (length - count), row.response
  assert step_ok.any()


def test_behaviour_log_probs_are_those_of_the_sampler(base, tmp_path):
  config = offline(base, **{"rollout.temperature": 0.7})
  seen = []
  inner = offline_module.build_sampler

  def kept(*args):
    generate, params = inner(*args)

    def wrapped(*arguments):
      seen.append(jax.device_get(generate(*arguments)))
      return seen[-1]

    return wrapped, params

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(offline_module, "build_sampler", kept)
    list(collect(config, tmp_path / "file"))
  by_text = {}
  for rollout in seen:
    for i in range(len(rollout.tokens)):
      length = int(rollout.response_mask[i].sum())
      stats = (rollout.log_probs[i, :length], rollout.entropy[i, :length])
      by_text[rollout.tokens[i].tobytes()] = stats
  recording = build(config, tmp_path / "file").recorded
  rows = recording.rollout(np.arange(len(recording.problems)))
  for i, (log_probs, entropy) in enumerate(
    zip(recording.log_probs, recording.entropy, strict=True)
  ):
    expected = by_text[rows.tokens[i].tobytes()]
    # float32 sums of two orders
    np.testing.assert_allclose(log_probs, expected[0], atol=1e-5)
    np.testing.assert_allclose(entropy, expected[1], atol=1e-5)


def final_params(workdir):
  manager = ocp.CheckpointManager(
    (workdir / "checkpoints").absolute(), item_names=("state", "host")
  )
  return manager.restore(
    manager.latest_step(),
    args=ocp.args.Composite(state=ocp.args.StandardRestore()),
  )["state"]["params"]


def test_an_offline_run_in_two_parts_is_the_run_in_one(
  no_implicit_transfers, base, tmp_path
):
  train(offline(base), tmp_path / "whole")  # makes its rollouts
  train(offline(base, num_rollout_steps=2), tmp_path / "parts")
  train(offline(base), tmp_path / "parts")
  whole, parts = (
    [r for r in numbers(tmp_path / name) if "actor/loss" in r]
    for name in ("whole", "parts")
  )
  assert parts == whole and len(whole) == 4
  jax.tree.map(
    np.testing.assert_array_equal,
    *(final_params(tmp_path / name) for name in ("whole", "parts")),
  )
  first, last = whole[0], whole[-1]
  # before the first update the policy is the one that sampled, to rounding
  assert first["bcpg/log_ratio_max"] < 1e-4
  assert abs(first["actor/ppo_kl"]) < 1e-6
  assert last["bcpg/log_ratio_mean"] > 1e-2
  assert first["negative_sample_augmentation/touched"] > 0
  assert "rollout/log_prob_diff_max" not in first
  kept = len(recorded.read(tmp_path / "whole" / "rollouts.jsonl").kept)
  assert last["offline/epochs"] == pytest.approx(4 * 8 / kept)


def load(config, base, path, vocab_size=1000):
  """Load recorded rollouts as a run of this config does."""
  settings, words = rollout_settings(config, base), tokenizer.load(base)
  return recorded.load(
    path, settings, config.judges, words, vocab_size=vocab_size
  )


def test_a_token_may_be_beyond_the_tokenizer_and_not_beyond_the_model(
  made, base, tmp_path
):
  """Many models have more rows in their tables than their tokenizer's tokens.

  A policy samples such a token now and then.
  """
  config, path = offline(base), tmp_path / "file"
  beyond = tokenizer.load(base).vocab_size
  rows = lines(made)
  for row in rows[1:]:
    row["tokens"][0] = beyond
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  loaded = load(config, base, path, vocab_size=beyond + 1)
  assert all(x.tokens[0] == beyond for x in loaded.responses)
  message = f"has the token {beyond}, but the model has only {beyond} tokens"
  with pytest.raises(ValueError, match=message):
    load(config, base, path, vocab_size=beyond)


@pytest.mark.parametrize(
  ("overrides", "message"),
  [
    ({"rollout.temperature": 0.7}, r"made with rollout\.temperature = 1\.0"),
    ({"rollout.response_length": 2}, r"rollout\.response_length = 2 cannot"),
    ({"judges": ("chat_model",)}, "no verdicts of 'chat_model'"),
    ({"prompt.template": "simple"}, r"made with prompt\.template = 'none'"),
  ],
)
def test_rollouts_that_cannot_serve_a_run_are_refused(
  overrides, message, made, base
):
  config = offline(base, **overrides)
  with pytest.raises(ValueError, match=message):
    load(config, base, made)


def test_a_response_without_a_verdict_is_left_to_the_other_judges(
  made, base, tmp_path
):
  config, path = offline(base), tmp_path / "file"

  def load(first, second):
    """Load the file with these verdicts on the first response that was cut."""
    number, row = next(
      (i, x) for i, x in enumerate(lines(made)) if x.get("steps")
    )
    count = len(row["steps"])
    rows = lines(made)
    for x in rows[1:]:
      if x["steps"]:
        x["verdicts"]["second"] = x["verdicts"]["oracle"]
    rows[number]["verdicts"] = {
      "oracle": first and count * first,
      "second": second and count * second,
    }
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recording = recorded.load(
      path,
      rollout_settings(config, base),
      ("oracle", "second"),
      tokenizer.load(base),
      vocab_size=1000,
    )
    cut = next(i for i, r in enumerate(recording.responses) if r.steps)
    return recording.step_ok[cut].sum(), recording.summary()

  whole, summary = load([True], [True])
  assert whole > 0 and "no verdict" not in summary
  marked, summary = load(None, [True])
  assert marked == whole
  assert summary.endswith("on 1 of these responses a judge has no verdict")
  assert load([True], [False])[0] == 0
  assert load(None, None)[0] == 0


def test_rollouts_of_another_model_are_refused(made, base, tmp_path):
  other = write_base(tmp_path / "other")
  weights = other / "model.safetensors"
  data = bytearray(weights.read_bytes())
  data[-1] ^= 1
  weights.write_bytes(data)
  with pytest.raises(ValueError, match=r"made with model\.weights = "):
    build(offline(other), made)


def spoiled(path, made, number, **changes):
  rows = lines(made)
  rows[number].update(changes)
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"tokens": [3, -1]}, r"file:3: tokens is \[3, -1\]"),
    ({"tokens": []}, r"file:3: tokens is \[\]"),
    ({"reward": "1"}, "file:3: reward is 1"),
    ({"reward": float("nan")}, "file:3: reward is nan"),
    ({"prompt": None}, "file:3: prompt is None"),
    ({"prompt": "another"}, "file:2: the 4 responses .* more than one prompt"),
    ({"steps": [[0]]}, "file:3: steps is"),
    ({"steps": [[0, 1], [2, 3]]}, "file:3: steps do not divide"),
    ({"verdicts": {"oracle": [1]}}, r"file:3: verdicts\.oracle is not"),
    ({"verdicts": {"oracle": [True] * 99}}, r"file:3: verdicts\.oracle is not"),
    ({"answer": 3}, "file:3: answer is 3"),
  ],
)
def test_a_malformed_line_is_named_with_its_key(
  changes, message, made, tmp_path
):
  spoiled(tmp_path / "file", made, 2, **changes)
  with pytest.raises(ValueError, match=message):
    recorded.read(tmp_path / "file")


def test_a_file_that_is_no_such_file_is_refused(made, tmp_path):
  path = tmp_path / "file"
  with pytest.raises(ValueError, match="there is no such file of rollouts"):
    recorded.read(path)
  text = made.read_text().splitlines(keepends=True)
  path.write_text("".join(text[:9]))
  with pytest.raises(ValueError, match="holds only 8 of 80 responses"):
    recorded.read(path)
  path.write_text("".join([text[0], "[]\n", *text[2:]]))
  with pytest.raises(ValueError, match="file:2: not a JSON object"):
    recorded.read(path)
  path.write_text("".join([text[0], "{}\n", *text[2:]]))
  with pytest.raises(ValueError, match="file:2: lacks 'problem'"):
    recorded.read(path)


def test_rollouts_without_a_signal_leave_nothing_to_learn(made, base, tmp_path):
  rows = lines(made)
  for row in rows[1:]:
    row["reward"] = 0.0
  path = tmp_path / "file"
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  config = offline(base)
  with pytest.raises(ValueError, match=r"none of 20 groups .* \(0 all right\)"):
    load(config, base, path)


@pytest.mark.parametrize(
  ("overrides", "message"),
  [
    ({"offline.enabled": False}, r"but offline\.enabled is False"),
    ({"judges": ()}, "but judges is empty"),
    ({"aggregation": "token-mean"}, "seq-mean-token-mean' with bcpg"),
    ({"dynamic_sampling.enabled": True}, r"dynamic_sampling\.enabled is True"),
    ({"offline.num_prompts": 0}, r"offline\.num_prompts must be at least 1"),
  ],
)
def test_a_config_that_cannot_work_is_refused(overrides, message, base):
  with pytest.raises(ValueError, match=message):
    check(offline(base, **overrides))


@pytest.mark.parametrize(
  ("overrides", "message"),
  [
    ({"judges": ("orakel",)}, "no 'orakel' .* did you mean 'oracle'"),
    ({"segmentation.name": "rule"}, "did you mean 'rules'"),
    ({"judges": ("chat_model",)}, r"chat_model\.model is not set"),
  ],
)
def test_what_cuts_and_judges_is_looked_up_before_anything_is_sampled(
  overrides, message, base, tmp_path
):
  with pytest.raises(ValueError, match=message):
    next(collect(offline(base, **overrides), tmp_path / "file"))
  assert not (tmp_path / "file").exists()


def test_settings_of_judges_that_are_not_asked_do_nothing(base):
  config = offline(base)
  check_overrides(config, ["rules.min_length", "offline.num_prompts"])
  with pytest.raises(ValueError, match=r"reward_model\.path is set and would"):
    check_overrides(config, ["reward_model.path"])


def test_the_command_runs_on_the_base_that_ships(
  tmp_path, judged_by_hash, monkeypatch
):
  monkeypatch.setattr(offline_module, "open_task", judged_by_hash)
  done = run_command(
    "entrojax.main",
    "--config=configs/bcpg_nsa.py:test",
    "--config.mesh=(1, 1, 1)",
    f"--workdir={tmp_path / 'run'}",
  )
  assert done.returncode == 0, done.stderr
  assert "groups have right and wrong responses" in done.stdout
  rows = [r for r in numbers(tmp_path / "run") if "actor/loss" in r]
  assert [row["rollout_step"] for row in rows] == [1, 2]
  assert rows[-1]["negative_sample_augmentation/touched"] > 0
