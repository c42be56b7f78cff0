"""BCPG: offline policy gradient that stays near the sampling policy.

    python -m entrojax.main --config=configs/bcpg.py --workdir=runs/bcpg

arXiv 2505.14403, after Kimi k1.5 (arXiv 2501.12599). The base answers each
training prompt with 8 responses, once, and all updates are on those responses.
Only final answers are judged, which equals configs/bcpg_nsa.py at beta = 1.

Time: not recorded.
Claim: none about the entropy.
Measured (`python -m experiments.negative_samples`, seeds 0 and 1, 8 passes over
the 1,335 groups of 2,048 that were neither all right nor all wrong): pass@1
0.383 -> 0.520 and 0.525.

Presets, as `--config=configs/bcpg.py:NAME`:
  demo  the same as without a preset
  test  two tiny steps, for tests
  reasoning  on Countdown with working; model.path must be set, see
             configs/reasoning.py
"""

from ml_collections import ConfigDict as Config

from configs import default

PRESETS = ("", "demo", "test", "reasoning")


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset."""
  if preset not in PRESETS:
    raise ValueError(f"no preset {preset!r}, only {PRESETS}")
  config = default.get_config()
  config.update(
    {
      # about 8 epochs if a third of the groups is kept
      "num_rollout_steps": 160,
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
      # the paper's 1e-3 at 7,100 tokens per response, scaled to 14 tokens
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
  if preset == "reasoning":
    # tau is scaled to some 50 tokens per response
    config.update(
      {
        "task": {"name": "countdown_steps", "difficulty": 1},
        "rollout": {
          "prompt_length": 11,
          "response_length": 128,
          "num_slots": 128,
        },
        "bcpg": {"tau": 0.15},
        "evaluation": {"split": "validation[:256]"},
      }
    )
    with config.ignore_type():
      config.model.path = None
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
