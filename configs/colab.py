r"""GRPO with LoRA on GSM8K, on the one chip of a free notebook.

    python -m entrojax.main --config=configs/colab.py:qwen3_0_6b \
        --workdir=runs/qwen3 --config.model.path=Qwen3-0.6B \
        --config.task.data_dir=gsm8k/main

    python -m experiments.rehearse --config=configs/colab.py:qwen3_0_6b \
        --topology=v5e:1x1

model.path is a folder of the model, and task.data_dir a folder of GSM8K's files
as they are published. colab/real_model.ipynb downloads both.

A rollout batch is 16 prompts x 8 responses of up to 512 tokens. The settings
without a device are for one TPU v5e chip with 16 GB, as free Colab has.

Time: not measured on these devices. For qwen3_0_6b on a v5e chip the compiler
estimates 13 seconds for a rollout step: 9.1 for 512 decoding steps, 4.1 for the
update.
Measured (by the rehearsal, for v5e:1x1): qwen3_0_6b takes 8.1 GB for the update
and 9.4 GB for decoding, of 17.2 GB. The other models take 3.9 to 6.6 GB for the
update and 2.0 to 2.2 GB for decoding. A rollout step of qwen2_5_0_5b takes 6.2
seconds by the compiler, of gemma3_270m 5.5 and of smollm2_135m 4.7. RESULTS.md,
"One chip, part by part", has the table.

Presets, as `--config=configs/colab.py:MODEL` or `...:MODEL,DEVICE`:
  qwen3_0_6b     Qwen3-0.6B
  qwen2_5_0_5b   Qwen2.5-0.5B-Instruct
  gemma3_270m    Gemma 3 270M, instruction-tuned
  smollm2_135m   SmolLM2-135M-Instruct
A device stands after the model, because it changes what the model's preset set:
  v6e            one TPU v6e chip, 32 GB: twice the prompts
  t4             one T4, 16 GB: float32, because it has no bfloat16
  l4             one L4, 24 GB
"""

from configs import Testbed

TESTBED = Testbed(
  settings={
    "num_rollout_steps": 100,
    "model": {
      "path": "Qwen3-0.6B",
      "dtype": "bfloat16",
      "scan_layers": True,
      "rematerialise": True,
    },
    "lora": {"rank": 16},
    "task": {"name": "math/gsm8k"},
    "prompt": {"template": "boxed", "chat": True},
    "rollout": {
      "num_prompts": 16,
      "group_size": 8,
      "prompt_length": 256,
      "response_length": 512,
      "num_slots": 128,
    },
    # with the inputs of all layers kept, two forward passes instead of three
    "training": {"num_microbatches": 16, "rematerialise": "layers"},
    "optimizer": {"learning_rate": 2e-5, "warmup_steps": 5},
    "checkpoint": {"minutes": 5.0},
    "evaluation": {
      "split": "test[:128]",
      "num_samples": 4,
      "prompts_per_batch": 32,
    },
    "log": {"every": 1},
  },
  presets={
    "qwen3_0_6b": {"model": {"path": "Qwen3-0.6B", "fused_attention": True}},
    "qwen2_5_0_5b": {
      "model": {"path": "Qwen2.5-0.5B-Instruct", "fused_attention": True}
    },
    # its sliding windows cannot be fused
    "gemma3_270m": {"model": {"path": "gemma-3-270m-it"}},
    "smollm2_135m": {
      "model": {"path": "SmolLM2-135M-Instruct", "fused_attention": True}
    },
    "v6e": {
      "rollout": {"num_prompts": 32, "num_slots": 256},
      "training": {"num_microbatches": 16},
    },
    "t4": {
      "model": {"dtype": "float32", "fused_attention": False},
      "rollout": {"num_slots": 64},
      "training": {"num_microbatches": 32, "rematerialise": True},
    },
    "l4": {
      "model": {"fused_attention": False},
      "training": {"num_microbatches": 16},
    },
  },
)
get_config = TESTBED.get_config
