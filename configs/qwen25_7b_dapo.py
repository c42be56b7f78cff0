r"""DAPO on Qwen2.5-7B, at the paper's shapes, for a TPU slice.

    python -m experiments.rehearse --config=configs/qwen25_7b_dapo.py \
        --topology=v5p:4x4x4
    python -m entrojax.main --distributed --workdir=runs/7b_dapo \
        --config=configs/qwen25_7b_dapo.py \
        --config.model.path=Qwen2.5-7B --config.task.data_dir=data

arXiv 2503.14476. The paper trains Qwen2.5-32B; only the model is smaller here.

  setting                           paper             verl's script, here
  prompts x responses of a rollout  512 x 16          the same
  updates on a rollout              16 of 512 rows    the same
  prompt, response in tokens        -, 20,480         2,048, 20,480
  overlong penalty                  last 4,096        the same, factor 1
  clip range, dual clip             0.2, 0.28; -      0.2, 0.28; 10
  learning rate                     1e-6, constant    the same
  warm-up                           20 rollout steps  10; here the paper's
  weight decay, gradient norm       -                 0.1, 1.0
  KL, entropy bonus                 none              none
  aggregation                       token-mean        the same
  sampling                          T = 1             the same, top-p 1
  dynamic sampling                  yes               10 batches at most, of
                                                      1,536 prompts; here 512
  evaluation: 32 samples            T = 1, top-p 0.7  the same

A warm-up of 20 rollout steps is one of 320 optimizer steps here.

Time: the rehearsal, the first command, compiles for about ten minutes. The run
has not been executed on TPUs.
Measured (by the rehearsal, for v5p:4x4x4): 62.1 GB per device for the update,
and 48.6 GB for decoding, of 102 GB. The update takes 648 seconds by the
compiler's cycles, a model FLOPs utilisation of 58 %.

Presets, as `--config=configs/qwen25_7b_dapo.py:NAME`:
  v5e    for a slice v5e:16x16, whose chips have a sixth of the memory
  long   prompt and response have 32,768 tokens together
"""

from ml_collections import ConfigDict as Config

from configs import default, response_length

PRESETS = ("", "v5e", "long")


def get_config(preset: str = "") -> Config:
  """Return the settings of the paper's run."""
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
      "query_chunk": 256,  # for the prompts, which are read into a cache
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
  config.overlong_penalty.update(
    {"max_length": response_length(config), "cache_length": 4096}
  )
  config.dynamic_sampling.enabled = True
  config.ppo_clip.update({"clip_high": 0.28, "dual_clip": 10.0})
  config.training.update({"updates_per_rollout": 16, "num_microbatches": 8})
  if not preset:
    config.training.rematerialise = "layers"
  config.optimizer.update(
    {
      "learning_rate": 1e-6,
      "warmup_steps": 20 * config.training.get_ref("updates_per_rollout"),
      "weight_decay": 0.1,
    }
  )
  config.evaluation.update(
    {"num_samples": 32, "top_p": 0.7, "prompts_per_batch": 64}
  )
  if preset == "v5e":
    config.mesh = (1, -1, 4)
    config.rollout.num_slots = 1024
  if preset == "long":
    config.rollout.response_length = 32768 - config.rollout.prompt_length
  return config
