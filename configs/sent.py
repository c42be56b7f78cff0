r"""SENT: a curriculum by semantic entropy, and a KL penalty.

    python -m entrojax.prompt_entropy --config=configs/sent.py \
        --output=runs/countdown_prompts.jsonl
    python -m entrojax.main --config=configs/sent.py --workdir=runs/sent

arXiv 2512.04359. The first command measures, once, the semantic entropy of the
base model's answers to each training prompt; two expressions of the same value
count as one answer. The second command trains in two stages, first on the half
of the prompts with low semantic entropy and then on the other half, with the
penalty of configs/sent_token.py.

Time: the second command takes about 3 to 5 minutes on two cores, as
`configs/sent.py:demo`; the time of the first is not recorded.
Claim: the entropy falls less than under GRPO.
Measured: without its curriculum, see configs/sent_token.py.
"""

from ml_collections import ConfigDict as Config

from configs import sent_token


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = sent_token.get_config(preset)
  config.clusters.equality = "verified"
  config.curriculum.table = "runs/countdown_prompts.jsonl"
  config.curriculum.steps_per_stage = config.num_rollout_steps // 2
  config.optimizer.decay_steps //= 2  # each stage has its own schedule
  return config
