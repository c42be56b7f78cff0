r"""GRPO without wrong responses that are off-policy (arXiv 2512.02556).

    python -m entrojax.main --config=configs/off_policy_mask.py \
        --workdir=runs/off_policy_mask

The off-policy sequence masking of DeepSeek-V3.2.

Time: about 3 to 5 minutes on two cores, as `configs/off_policy_mask.py:demo`.
Claim: the paper claims nothing of the entropy. Training is more stable.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is -0.4 ± 0.3 millinats per token.
"""

from configs import Method

METHOD = Method(
  title="off-policy sequence masking",
  family="choice and weight of tokens",
  equation="no loss where A < 0 and the mean of log pi_old - log pi is large",
  files=("objectives/off_policy_mask.py",),
  paper="2512.02556",
  statistics="sequence",
  claim="none",
  measured="-0.4 ± 0.3",
  settings={"objective": ("ppo_clip", "off_policy_mask")},
  why="no claim about entropy against GRPO",
)
get_config = METHOD.get_config
