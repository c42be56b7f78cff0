"""SENT: a curriculum from low to high semantic entropy, and its token level.

    python -m entrojax.prompt_entropy --config=configs/sent.py \
        --output=runs/countdown_prompts.jsonl
    python -m entrojax.main --config=configs/sent.py --workdir=runs/sent

arXiv 2512.04359. The first command sorts the training prompts once, by answers
of the base model; two expressions of one value are one answer. The second one
runs both stages. Entropy: falls less than under GRPO.
"""

from ml_collections import ConfigDict as Config

from configs import sent_token


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = sent_token.get_config(preset)
  config.clusters.equality = "verified"
  config.curriculum.table = "runs/countdown_prompts.jsonl"
  config.curriculum.steps_per_stage = config.num_rollout_steps // 2
  config.optimizer.decay_steps //= 2  # each stage has its own
  return config
