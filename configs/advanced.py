"""The survey's advanced recipe: KL-Cov + EntroPIC + SENT's token level.

    python -m entrojax.main --config=configs/advanced.py --workdir=runs/advanced

arXiv 2505.22617, 2511.15248 and 2512.04359 together; configs/kl_cov.py,
configs/entropic.py and configs/sent_token.py have each by itself.

Time: about 3 to 5 minutes on two cores, as `configs/advanced.py:demo`.
Claim: the entropy is held at control.target.
Measured (`python -m experiments.directions --batches=12`, with the target set
to 0.8 nats): after the updates of one rollout batch, entropy minus GRPO's is
+18.1 ± 1.1 millinats per token: as claimed.
"""

from ml_collections import ConfigDict as Config

from configs import entropic, kl_cov, sent_token


def get_config(preset: str = "") -> Config:
  """Return the settings of a preset of configs/countdown.py."""
  config = entropic.get_config(preset)
  config.objective = ("kl_cov", "entropic", "sent")
  config.kl_cov = kl_cov.get_config(preset).kl_cov
  config.sent = sent_token.get_config(preset).sent
  return config
