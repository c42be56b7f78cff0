r"""GRPO on word problems in GSM8K's format, from a chat model of your own.

    python -m entrojax.main --config=configs/gsm8k.py --workdir=runs/gsm8k \
        --config.model.path=FOLDER --config.task.data_dir=data/gsm8k

An adapter (LoRA) is trained with GRPO (arXiv 2402.03300). model.path is a
folder in Hugging Face's format. task.data_dir is a folder with GSM8K's
train.jsonl and test.jsonl, or a folder of files with the same columns, question
and answer, where the number follows ####; without #### the answer is the whole
column. A single file is divided into train, validation and test. A base model,
which has no chat template, needs prompt.chat=False. For short problems lower
rollout.prompt_length and rollout.response_length.

Any method runs on this testbed, as in `configs/gsm8k.py:clip_cov`, with its
paper's numbers. They were chosen for larger models and batches.

Time: not recorded without a preset.
Measured: no result is recorded; the preset sample shows that all parts work.

Presets, as `--config=configs/gsm8k.py:NAME`:
  small   a first run of your own, on a CPU: 50 rollout steps of 8 x 8 responses
          of up to 96 tokens, after prompts of up to 128; with a random Llama of
          two layers and 10 problems 54 CPU seconds
  sample  3 rollout steps on the 20 problems of
          tests/goldens/gsm8k_sample.jsonl, for SmolLM2-135M: about 5 minutes on
          two cores
"""

from configs import Testbed

TESTBED = Testbed(
  settings={
    "num_rollout_steps": 200,
    "model": {"scan_layers": True, "rematerialise": True},
    "lora": {"rank": 16},
    "task": {"name": "math/gsm8k"},
    "prompt": {"chat": True},
    "rollout": {
      "num_prompts": 32,
      "group_size": 8,
      "prompt_length": 320,
      "response_length": 512,
    },
    "training": {"updates_per_rollout": 2, "num_microbatches": 8},
    "optimizer": {"learning_rate": 2e-5},
    "checkpoint": {"every": 50},
    "evaluation": {"split": "test", "num_samples": 8},
  },
  presets={
    "small": {
      "num_rollout_steps": 50,
      "rollout": {
        "num_prompts": 8,
        "prompt_length": 128,
        "response_length": 96,
      },
      "training": {"updates_per_rollout": 1, "num_microbatches": 2},
      "optimizer": {"warmup_steps": 5},
      "checkpoint": {"every": 25},
      "evaluation": {
        "split": "test[:32]",
        "num_samples": 4,
        "prompts_per_batch": 8,
      },
      "log": {"every": 1},
    },
    "sample": {
      "num_rollout_steps": 3,
      "task": {"data_dir": "tests/goldens/gsm8k_sample.jsonl"},
      "rollout": {
        "num_prompts": 4,
        "group_size": 4,
        "prompt_length": 96,
        "response_length": 96,
        "temperature": 0.7,
      },
      "training": {"updates_per_rollout": 1, "num_microbatches": 4},
      "evaluation": {
        "num_samples": 4,
        "temperature": 0.7,
        "prompts_per_batch": 2,
      },
      "log": {"every": 1},
    },
  },
)
get_config = TESTBED.get_config
