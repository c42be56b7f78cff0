r"""All methods on Countdown, three seeds each.

    python -m entrojax.sweep --config=configs/sweeps/methods.py \
        --workdir=runs/methods --jobs=2

Each unit is a method's config with its preset `demo`. GRPO is the baseline.
configs/sent.py is left out, because it needs a table of prompts that another
command makes; configs/sent_token.py has its loss without the curriculum.

    --unit=I or --shard=I/N runs a part, for example as a Slurm array
    --config.num_rollout_steps=100 shortens all units

Time: 93 units of about 3 to 5 minutes each on two cores; `--dry_run` estimates
it for this machine.
Measured: not yet.
"""

from ml_collections import ConfigDict as Config

from configs import countdown

METHODS = (
  *("grpo", "dr_grpo", "rloo", "w_reinforce", "nsr", "psr"),
  *("unlikeliness", "seed_grpo", "entrocraft", "grpo_dropout"),
  *("dapo", "clip_higher", "gspo", "cispo", "ce_gppo"),
  *("clip_cov", "kl_cov", "top_entropy", "steer", "erc"),
  *("stare", "adaptive_stare", "entropy_advantage", "positive_reweighting"),
  *("entropic", "sent_token", "entropy_bonus", "adaptive_entropy"),
  *("reference_kl", "projection", "starter", "advanced"),
)
NUM_SEEDS = 3


def get_config() -> Config:
  """Return the settings on which all methods build."""
  return countdown.get_config("demo")


def get_hyper(hyper):
  """List the units: each method with each seed."""
  return hyper.product(
    [
      hyper.sweep("config", [f"configs/{name}.py:demo" for name in METHODS]),
      hyper.sweep("config.seed", range(NUM_SEEDS)),
    ]
  )
