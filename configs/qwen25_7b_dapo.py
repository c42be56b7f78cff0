"""DAPO on Qwen2.5-7B, at the paper's shapes, for a TPU slice.

    python -m experiments.rehearse --config=configs/qwen25_7b_dapo.py \
        --topology=v5p:4x4x4
    python -m entrojax.main --distributed --workdir=runs/7b_dapo \
        --config=configs/qwen25_7b_dapo.py \
        --config.model.path=Qwen2.5-7B --config.task.data_dir=data

arXiv 2503.14476: 512 prompts x 16 responses of up to 20,480 tokens a rollout,
16 updates on it, learning rate 1e-6 after 20 steps, Clip-Higher, dynamic
sampling, token mean, overlong penalty over the last 4,096 tokens. The rehearsal
compiles within ten minutes or so and finds 19.7 GB a device for the update and
48.6 GB for decoding, of 102.

Presets, as `--config=configs/qwen25_7b_dapo.py:NAME`:
  v5e    for v5e:16x16, whose chips have a sixth of the memory
  long   prompt and response of 32,768 tokens together
"""

from ml_collections import ConfigDict as Config

from configs import default

PRESETS = ("", "v5e", "long")


def get_config(preset: str = "") -> Config:
  """Returns the settings of the paper's run."""
  if preset not in PRESETS:
    raise ValueError(f"no preset {preset!r}, only {PRESETS}")
  config = default.get_config()
  config.num_rollout_steps = 300
  config.model.update(
    {
      "path": "Qwen2.5-7B",
      "dtype": "bfloat16",
      "scan_layers": True,
      "rematerialise": True,
      "query_chunk": 256,  # of prompts that a cache reads
      "fused_attention": True,
    }
  )
  config.task.name = "math/dapo"
  config.prompt.template = "dapo"
  config.mesh = (1, -1, 1)
  config.rollout.update(
    {
      "num_prompts": 512,
      "group_size": 16,
      "prompt_length": 2048,
      "response_length": 20480,
      "num_slots": 2048,
    }
  )
  config.advantage = ("overlong_penalty", "grpo")
  config.overlong_penalty.update({"max_length": 20480, "cache_length": 4096})
  config.dynamic_sampling.enabled = True
  config.ppo_clip.update({"clip_high": 0.28, "dual_clip": 10.0})
  config.training.update({"updates_per_rollout": 16, "num_microbatches": 8})
  config.optimizer.update(
    {"learning_rate": 1e-6, "warmup_steps": 20, "weight_decay": 0.1}
  )
  config.evaluation.update({"num_samples": 32, "prompts_per_batch": 64})
  if preset == "v5e":
    config.mesh = (1, -1, 4)
    config.rollout.num_slots = 1024
  if preset == "long":
    config.rollout.response_length = 32768 - config.rollout.prompt_length
    config.overlong_penalty.max_length = config.rollout.response_length
  return config
