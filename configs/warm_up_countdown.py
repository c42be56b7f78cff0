"""The supervised warm-up that made entrojax/bases/countdown.

    python -m experiments.warm_up --config=configs/warm_up_countdown.py \
        --output=runs/base

Some 15 minutes on 2 cores; cross-entropy about 0.49 nats a token at the end.
On 256 held-out prompts at temperature 1, 256 samples each (mean, standard error
over prompts): pass@1 0.226 (0.011), pass@64 0.959 (0.010), pass@256 0.981
(0.009), entropy 0.511 nats a token, 23.0 distinct right answers.
"""

from ml_collections import ConfigDict as Config


def get_config() -> Config:
  """Returns the warm-up's settings."""
  return Config(
    {
      "seed": 0,  # of the initial parameters and the order of examples
      "num_steps": 3500,  # optimizer steps
      "batch_size": 256,  # examples a step
      "solutions_per_problem": 64,  # random right answers drawn once for each
      "prompt_length": 11,  # tokens
      "response_length": 12,  # tokens, EOS included
      "model": {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
      },
      "optimizer": {
        "learning_rate": 2e-3,
        "warmup_steps": 100,
        "end_fraction": 0.05,
        "b1": 0.9,
        "b2": 0.98,
        "eps": 1e-8,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
      },
      "evaluation": {
        "split": "validation[:256]",
        "num_samples": 256,  # of each prompt
        "prompts_per_batch": 4,
      },
    }
  )
