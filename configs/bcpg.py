"""BCPG: offline policy gradient with a constraint on behaviour.

    python -m entrojax.main --config=configs/bcpg.py --workdir=runs/bcpg

arXiv 2505.14403, after Kimi k1.5 (arXiv 2501.12599). The base answers each
training prompt once; all updates are on those responses. Nothing is judged but
answers: configs/bcpg_nsa.py at beta = 1.
"""

from ml_collections import ConfigDict as Config

from configs import default

PRESETS = ("", "demo", "test")


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset: demo is the whole, test a few steps."""
  if preset not in PRESETS:
    raise ValueError(f"no preset {preset!r}, only {PRESETS}")
  config = default.get_config()
  config.update(
    {
      "num_rollout_steps": 160,  # some 8 epochs, if a third is kept
      "model": {"path": "bases/logic"},
      "task": {"name": "arithmetic_chain", "difficulty": 3},
      "offline": {"enabled": True, "num_prompts": 2048},
      "rollout": {
        "num_prompts": 32,
        "group_size": 8,
        "prompt_length": 12,
        "response_length": 22,
      },
      "training": {"rematerialise": False},
      "advantage": ("dr_grpo",),
      "objective": ("bcpg",),
      # the paper's 1e-3 for 7,100 tokens a response, at 14
      "bcpg": {"tau": 0.5},
      "aggregation": "seq-mean-token-mean",
      "optimizer": {
        "learning_rate": 1e-4,
        "decay_steps": 160,
        "end_fraction": 0.5,
        "b2": 0.99,
      },
      "evaluation": {
        "split": "validation",
        "num_samples": 16,
        "prompts_per_batch": 32,
      },
    }
  )
  if preset == "test":
    config.update(
      {
        "num_rollout_steps": 2,
        "offline": {"num_prompts": 32},
        "rollout": {"num_prompts": 8, "group_size": 4},
        "evaluation": {
          "split": "validation[:8]",
          "num_samples": 4,
          "prompts_per_batch": 8,
        },
        "log": {"every": 1},
      }
    )
  return config
