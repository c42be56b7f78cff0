"""Helpers for system tests: a tiny random base and a config that uses it."""

import json
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from configs import countdown as countdown_config
from entrojax.data import prompt_table, tokenizer
from entrojax.models import DecoderConfig, decoder, hugging_face
from entrojax.tasks.families import countdown

SIZES = DecoderConfig(
  vocab_size=3 + len(countdown.CHARACTERS),
  hidden_size=16,
  intermediate_size=32,
  num_hidden_layers=1,
  num_attention_heads=4,
  num_key_value_heads=2,
  head_dim=4,
)

TIMES = ("timing_s/", "perf/")  # metrics that differ from run to run


def write_base(folder: Path) -> Path:
  """Write a model folder with random parameters."""
  folder.mkdir(parents=True)
  words = tokenizer.character_tokenizer(countdown.CHARACTERS)
  words.save(str(folder / "tokenizer.json"))
  params = decoder(SIZES).init(jax.random.key(0))
  hugging_face.write_folder(
    folder, SIZES, params, {"eos_token_id": 2, "pad_token_id": 0}
  )
  return folder


def tiny_config(base: Path, **overrides):
  """Return the config countdown.py:test with the tiny base.

  Args:
    base: the folder of the tiny base.
    **overrides: settings by 'section.leaf'.
  """
  config = countdown_config.get_config("test")
  config.model.path = str(base)
  config.mesh = (1, 1, 1)
  config.optimizer.decay_steps = 0  # a test may make a run longer
  config.update_from_flattened_dict(overrides)
  return config


def write_prompt_table(path: Path, config, entropies) -> None:
  """Write a prompt table for a config, with these semantic entropies."""
  settings = {"task": dict(config.task)}
  count = len(entropies)
  prompt_table.begin(path, settings, num_rows=count, batch_size=count)
  prompt_table.append(
    path,
    [
      {"row": row, "semantic_entropy": e, "entropy": 0.5, "accuracy": 0.5}
      for row, e in enumerate(entropies)
    ],
  )


def numbers(workdir: Path) -> list[dict]:
  """Return the lines of metrics.jsonl without the metrics of time."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if not k.startswith(TIMES)}
    for line in lines
  ]


def final_params(workdir: Path):
  """Return every array of the newest checkpoint, by path."""
  manager = ocp.CheckpointManager(
    (workdir / "checkpoints").absolute(), item_names=("state", "host")
  )
  restored = manager.restore(
    manager.latest_step(),
    args=ocp.args.Composite(state=ocp.args.StandardRestore()),
  )["state"]
  del restored["key"]
  return restored


def controlled(base, **overrides):
  """Return `tiny_config` with four rollout steps under EntroPIC's control."""
  return tiny_config(
    base,
    **{
      "num_rollout_steps": 4,
      "objective": ("ppo_clip", "entropic"),
      "control.name": "entropic_pi",
      "control.target": 1.0,
      **overrides,
    },
  )
