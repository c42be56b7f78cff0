"""Compare losses and advantages with the same methods of verl and TRL.

    python -m experiments.peers.losses --peer_python=PATH [--batches=200]

PATH is the Python interpreter of an environment with torch and with verl, TRL
or both; methods of a package that it lacks are left out. Each batch has B = 8
responses to two prompts, up to T = 12 tokens and float64 numbers. The largest
difference over all batches is printed for each method, in the loss and in the
gradient of the log-probs. The command fails if one exceeds 1e-6.
"""

from collections.abc import Mapping
from pathlib import Path
import subprocess
import tempfile

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from entrojax import advantages, objectives
from entrojax.objectives import aggregation, chain, policy_loss
from entrojax.system.command_line import command
from entrojax.types import Objective, Responses, ScoredTokens

FLAGS = flags.FlagValues()
_PYTHON = flags.DEFINE_string(
  "peer_python", None, "the interpreter with verl and TRL", flag_values=FLAGS
)
_BATCHES = flags.DEFINE_integer(
  "batches", 200, "the number of batches", flag_values=FLAGS
)
_GROUPS, _GROUP_SIZE, _LENGTH = 2, 4, 12
_TOLERANCE = 1e-6

# the peer's name -> our objective and its aggregation
_LOSSES: dict[str, tuple[Objective, str]] = {
  "verl gpg": (objectives.reinforce(), "token-mean"),
  "verl geo_mean": (objectives.gmpo(), "seq-mean-token-mean"),
  "verl sapo": (objectives.sapo(), "seq-mean-token-mean"),
  "verl dppo_tv": (objectives.dppo(), "token-mean"),
  "verl dppo_kl": (
    objectives.dppo(divergence="kl", low=0.05, high=0.05),
    "token-mean",
  ),
  "TRL sapo": (objectives.sapo(), "seq-mean-token-mean"),
  "TRL vespo": (objectives.vespo(), "token-mean"),
  "TRL luspo": (
    objectives.luspo(clip_low=0.1, clip_high=0.1),
    "seq-mean-token-sum",
  ),
  "TRL bias-corrected KL": (
    chain(
      objectives.ppo_clip(clip_low=0.1, clip_high=0.1, dual_clip=None),
      objectives.reference_kl(kl_coef=0.04, ratio_weighted=True),
    ),
    "token-mean",
  ),
}
# the peer's name -> our rules
_RULES = {
  "verl grpo_passk": {"best_of_group": advantages.best_of_group()},
  "verl reinforce_plus_plus_baseline": {
    "dr_grpo": advantages.dr_grpo(),
    "whiten": advantages.whiten(),
  },
}


def draw_batches(count: int) -> dict[str, np.ndarray]:
  """Draw batches: rewards f64[N, B], groups i64[N, B] and f64[N, B, T] arrays.

  Ratios lie on both sides of all clip ranges, and no two rewards are equal.
  """
  rng = np.random.default_rng(0)
  rows = _GROUPS * _GROUP_SIZE
  shape = (count, rows, _LENGTH)
  log_probs = -rng.exponential(0.5, shape)
  lengths = rng.integers(1, _LENGTH + 1, (count, rows, 1))
  advantage = rng.normal(size=(count, rows, 1))
  return {
    "log_probs": log_probs,
    "old_log_probs": np.minimum(log_probs + rng.normal(0, 0.3, shape), -1e-3),
    "ref_log_probs": np.minimum(log_probs + rng.normal(0, 0.5, shape), -1e-3),
    "advantages": np.broadcast_to(advantage, shape).copy(),
    "mask": (np.arange(_LENGTH) < lengths).astype(np.float64),
    "rewards": rng.normal(size=(count, rows)),
    "groups": np.tile(np.repeat(np.arange(_GROUPS), _GROUP_SIZE), (count, 1)),
  }


def our_loss(name: str, batches: Mapping[str, np.ndarray]):
  """Compute the losses [N] and gradients [N, B, T] of one method."""
  objective, aggregate = _LOSSES[name]

  def loss(log_probs, batch):
    zeros = jnp.zeros_like(log_probs)
    tokens = ScoredTokens(
      log_probs=log_probs,
      old_log_probs=batch["old_log_probs"],
      ref_log_probs=batch["ref_log_probs"],
      entropy=zeros,
      old_entropy=zeros,
      advantages=batch["advantages"],
      mask=batch["mask"],
    )
    by_name = aggregation.by_name(aggregate, length=_LENGTH)
    return policy_loss(objective, by_name, tokens)[0]

  compute = jax.jit(jax.vmap(jax.value_and_grad(loss)))
  return compute(batches["log_probs"], dict(batches))


def our_advantages(name: str, batches: Mapping[str, np.ndarray]) -> np.ndarray:
  """Compute the advantages [N, B, T] of one rule."""
  grouped = lambda x: jnp.reshape(x, (-1, _GROUPS, _GROUP_SIZE))
  apply = lambda rewards, lengths: (
    advantages.apply_rules(
      _RULES[name], Responses(rewards=rewards, lengths=lengths)
    ).advantages
  )
  mask = batches["mask"]
  done = jax.vmap(apply)(grouped(batches["rewards"]), grouped(mask.sum(2)))
  return np.reshape(np.asarray(done), mask.shape[:2])[..., None] * mask


@command(FLAGS)
def main() -> None:
  """Print the largest differences; raise ValueError if one is too large."""
  if not _PYTHON.value:
    raise ValueError("--peer_python names no interpreter")
  jax.config.update("jax_enable_x64", True)
  batches = draw_batches(_BATCHES.value)
  with tempfile.TemporaryDirectory() as folder:
    source, target = Path(folder, "batches.npz"), Path(folder, "losses.npz")
    np.savez(source, **batches)  # type: ignore[arg-type]
    module = "experiments.peers.torch_losses"
    subprocess.run([_PYTHON.value, "-m", module, source, target], check=True)
    with np.load(target) as arrays:
      found = dict(arrays)
  worst = 0.0
  for name in (*_LOSSES, *_RULES):
    differences = {}
    if name in _LOSSES and f"{name}/loss" in found:
      loss, gradient = our_loss(name, batches)
      differences["loss"] = loss - found[f"{name}/loss"]
      differences["gradient"] = gradient - found[f"{name}/gradient"]
    elif name in _RULES and f"{name}/advantages" in found:
      ours = our_advantages(name, batches)
      differences["advantages"] = ours - found[f"{name}/advantages"]
    else:
      print(f"{name:<36} not installed")
      continue
    largest = {k: float(np.abs(v).max()) for k, v in differences.items()}
    worst = max(worst, *largest.values())
    print(f"{name:<36}", *(f"{k} {v:.1e}" for k, v in largest.items()))
  if not worst <= _TOLERANCE:
    raise ValueError(f"the largest difference is {worst:.1e}")
  print(f"{_BATCHES.value} batches: all within {_TOLERANCE:g}")


if __name__ == "__main__":
  main()
