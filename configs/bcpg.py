"""BCPG: offline policy gradient that stays near the sampling policy.

    python -m entrojax.main --config=configs/bcpg.py --workdir=runs/bcpg

arXiv 2505.14403, after Kimi k1.5 (arXiv 2501.12599). The base answers each
training prompt with 8 responses, once, and all updates are on those responses.
Only final answers are judged, which equals configs/bcpg_nsa.py at beta = 1.

Time: not recorded.
Claim: none about the entropy.
Measured (configs/sweeps/negative_samples.py, seeds 0 and 1, 8 passes over the
1,335 groups of 2,048 that were neither all right nor all wrong): pass@1 0.383
-> 0.520 and 0.525.

Presets, as `--config=configs/bcpg.py:NAME`:
  demo  the same as without a preset
  test  two tiny steps, for tests
  reasoning  on Countdown with working, see configs/reasoning.py
"""

from typing import Any

from ml_collections import ConfigDict as Config

from configs import Method


def settings(config: Config) -> dict:
  """Return the settings: one update for each batch of recorded rollouts."""
  prompts = config.num_rollout_steps * config.rollout.num_prompts
  return {
    # groups that are all right or all wrong are dropped
    "offline": {"enabled": True, "num_prompts": min(2048, 2 * prompts)},
    "advantage": ("dr_grpo",),
    "objective": ("bcpg",),
    "aggregation": "seq-mean-token-mean",
    "training": {"updates_per_rollout": 1},
  }


ON: dict[str, Any] = {
  "countdown": {"bcpg": {"tau": 0.5}},
  "reasoning": {
    "num_rollout_steps": 160,
    "rollout": {"num_prompts": 32},
    "bcpg": {"tau": 0.15},
    "optimizer": {"learning_rate": 1e-4, "end_fraction": 0.5},
    "checkpoint": {"every": 0},
    "evaluation": {"num_samples": 16, "prompts_per_batch": 32},
  },
}
ORIGINS = {
  "countdown": (
    "Scaled: the paper's tau of 1e-3 for 7,100 tokens per response, times "
    "7,100 / 14."
  ),
  "reasoning": (
    "Scaled: tau is the paper's 1e-3 times 7,100 / 50, because a response has "
    "some 50 tokens. As configs/logic.py: the sizes and the learning rate."
  ),
}
METHOD = Method(
  title="BCPG, offline",
  family="recipes and offline",
  equation="A log pi - tau / 2 (sum log pi / pi_old)^2",
  files=("objectives/bcpg.py", "rollouts/recorded.py"),
  paper="2505.14403",
  statistics="sequence",
  claim="none",
  measured="offline, not compared",
  settings=settings,
  on=ON,
  origins=ORIGINS,
  testbed="logic",
)
get_config = METHOD.get_config
