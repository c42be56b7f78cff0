"""GRPO with a token-mean loss, the baseline (arXiv 2402.03300).

    python -m entrojax.main --config=configs/grpo.py --workdir=runs/grpo

A = (R - mean) / std over the group, PPO's clipped loss.

Time: about 3.5 minutes on two cores, as `configs/grpo.py:demo`.
Claim: the entropy falls.
Measured (`make demo`; three seeds in experiments/RESULTS.md, before -> after):
entropy 0.51 -> 0.21 nats per token, pass@1 0.226 -> 0.378, pass@64 0.957 ->
0.806. By `python -m experiments.directions --batches=12`, the updates of one
rollout batch change the entropy by -11.3 ± 1.7 millinats per token.
"""

from configs import Method

METHOD = Method(
  title="GRPO, PPO clip, token mean",
  family="surrogates",
  equation="A = (R - mean) / std",
  files=("advantages/baselines.py", "objectives/ppo.py"),
  paper="2402.03300",
  statistics="group",
  claim="falls",
  measured="-11.3 ± 1.7 (its own change)",
)
get_config = METHOD.get_config
