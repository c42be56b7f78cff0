r"""BCPG-NSA against BCPG: does it help to spare right steps? Three seeds each.

    python -m entrojax.sweep --config=configs/sweeps/negative_samples.py \
        --workdir=runs/negative_samples
    python -m entrojax.report runs/negative_samples --baseline=beta=1 \
        --output=runs/negative_samples.html

For each seed the base answers the training prompts, and all units of that seed
make the same updates on the same responses, in the same order. They differ only
in beta, the factor on the advantage of right steps in wrong responses: 1 is
BCPG, values below 1 are BCPG-NSA (arXiv 2505.14403). The task's exact oracle
judges the steps. The report compares them prompt by prompt and seed by seed.

The units are on arithmetic chains. With `negative_samples.py:reasoning` they
are on Countdown with working, from the base that writes its search. There, beta
0.5 counts as a gain from 0.01 of pass@1 on, as for other claims of a gain; this
was set before a result was read.

Time: not recorded.
Measured: experiments/RESULTS.md, "Right steps of wrong responses".
"""

from ml_collections import ConfigDict as Config

from configs import bcpg_nsa

BETAS = (1.0, 0.5, -0.5)
NUM_SEEDS = 3
# eight passes over the 1,335 of 2,048 groups in which responses differ
NUM_ROLLOUT_STEPS = 334


def get_config(preset: str = "") -> Config:
  """Return the settings that all units share.

  Args:
    preset: "reasoning", or empty for arithmetic chains.
  """
  config = bcpg_nsa.get_config(preset)
  if preset:
    return config
  config.num_rollout_steps = NUM_ROLLOUT_STEPS
  config.offline.num_prompts = 2048
  return config


def get_hyper(hyper):
  """List the units: each beta with each seed."""
  return hyper.product(
    [
      hyper.sweep("config.negative_sample_augmentation.beta", BETAS),
      hyper.sweep("config.seed", range(NUM_SEEDS)),
    ]
  )
