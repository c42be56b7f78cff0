"""The survey's advanced recipe: KL-Cov + EntroPIC + SENT's token level.

    python -m entrojax.main --config=configs/advanced.py --workdir=runs/advanced

arXiv 2505.22617, 2511.15248 and 2512.04359 together; see kl_cov.py, entropic.py
and sent_token.py for each. Entropy: held at control.target.
"""

from ml_collections import ConfigDict as Config

from configs import entropic, kl_cov, sent_token


def get_config(preset: str = "") -> Config:
  """Returns the settings of a preset of configs/countdown.py."""
  config = entropic.get_config(preset)
  config.objective = ("kl_cov", "entropic", "sent")
  config.kl_cov = kl_cov.get_config(preset).kl_cov
  config.sent = sent_token.get_config(preset).sent
  return config
