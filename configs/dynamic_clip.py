r"""Clip thresholds that depend on a token's probability (arXiv 2602.09782).

    python -m entrojax.main --config=configs/dynamic_clip.py \
        --workdir=runs/dynamic_clip

The strategy "increase, then decrease" of the paper: in the first half of the
run, rare right tokens may rise further than likely ones, less and less; in the
second half, rare wrong tokens may fall further, less and less. The halves are
met to within two optimizer steps. "Decrease, increase, decrease" is the same
with dynamic_clip.high_share='linear(0, 1, N, hold=True)', where N is half of
the run's optimizer steps. The third strategy, oscillatory decay, is
config.objective = ("oscillating_clip",) with config.control.name = "hysteresis"
and config.hysteresis.num_updates, the run's optimizer steps.

Time: about 3 to 5 minutes on two cores, as `configs/dynamic_clip.py:demo`.
Claim: the entropy rises first, and falls in the second half.
Measured (`python -m experiments.directions --batches=12`): after the updates of
one rollout batch, entropy minus GRPO's is +0.2 ± 0.1 millinats per token, too
little to tell it from GRPO.

Deviation: the thresholds of 0.4 for rare tokens and 0.1 for likely ones are
ours, because the paper's could not be read.
"""

from ml_collections import ConfigDict as Config

from configs import Method, run_length


def settings(config: Config) -> dict:
  """Return the settings: the shares of both sides follow the run's length."""
  steps = run_length(config)
  half = (steps + 1) // 2
  rise = "linear(1, 0, " + half.to_str() + ", hold=True)"
  fall = (
    "points((0, 0), ("
    + half.to_str()
    + ", 0), ("
    + (half + 1).to_str()
    + ", 1), ("
    + (steps + 2).to_str()
    + ", 0), hold=True)"
  )
  return {
    "objective": ("dynamic_clip",),
    "dynamic_clip": {"high_share": rise, "low_share": fall},
  }


METHOD = Method(
  title="dynamic clip thresholds",
  family="surrogates",
  equation="clip(r, 1 - E(pi), 1 + E(pi)), E falls with pi and moves in time",
  files=("objectives/dynamic_clip.py",),
  paper="2602.09782",
  statistics="none",
  claim="rises, then falls",
  measured="+0.2 ± 0.1",
  settings=settings,
  variants=("oscillating_clip", "hysteresis"),
  direction=1,
)
get_config = METHOD.get_config
