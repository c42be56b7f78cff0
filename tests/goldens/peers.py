r"""Compare losses, gradients and advantages with verl's and TRL's own code.

    pip install torch==2.13.0 trl==1.16.0 ray codetiming orjson tensordict
    pip install --no-deps verl==0.9.1
    PYTHONPATH=. python tests/goldens/peers.py [--batches=200]

This runs where the two frameworks are installed beside entrojax; the tests need
neither. Each row calls the framework's own function on random batches and
prints the largest relative difference of the loss, and of its gradient with
respect to log pi, in float64. A difference of losses is compared with the root
mean square of the loss over all batches, because a single loss may be near 0,
and a difference of gradients with the largest gradient in its batch. A rule has
no gradient of its own, so its row compares advantages. Entropy, sampling and
the model do not take part.

A batch has 8 responses of 1 to 12 tokens. A quarter of the tokens has moved far
from the sampling policy. Advantages are normal, one per response, and some are
0. Rewards of rules are 0, 1 or a fraction, in groups of 4.
"""

import collections
from collections.abc import Callable, Mapping
import sys
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from trl import GRPOTrainer
from verl.trainer.config import AlgoConfig
from verl.trainer.ppo import core_algos
from verl.workers.config import ActorConfig, PolicyLossConfig

from entrojax.advantages import best_of_group, dr_grpo, gdpo, whiten
from entrojax.objectives import (
  chain,
  cispo,
  clip_cov,
  dppo,
  gmpo,
  gspo,
  kl_cov,
  luspo,
  off_policy_mask,
  policy_loss,
  ppo_clip,
  reference_kl,
  reinforce,
  sapo,
  vespo,
)
from entrojax.objectives.aggregation import (
  seq_mean_token_mean,
  seq_mean_token_sum,
  token_mean,
)
from entrojax.types import Responses, ScoredTokens

ROWS, LENGTH, GROUP = 8, 12, 4


class Batch(NamedTuple):
  """Random inputs, f64[ROWS, LENGTH] but for the rewards, f64[ROWS]."""

  log_probs: np.ndarray
  old_log_probs: np.ndarray
  ref_log_probs: np.ndarray
  advantages: np.ndarray
  mask: np.ndarray
  rewards: np.ndarray
  others: np.ndarray  # f64[ROWS], another part of the reward


# batch -> (loss, gradient), or (advantages,)
Function = Callable[[Batch], tuple[np.ndarray, ...]]


def random_batch(seed: int) -> Batch:
  """Draw a batch."""
  rng = np.random.default_rng(seed)
  shape = (ROWS, LENGTH)
  old = np.log(rng.uniform(0.02, 0.98, shape))
  moved = np.where(rng.random(shape) < 0.25, 1.0, 0.1)
  below = lambda x: np.minimum(x, -0.005)  # of log-probs
  advantages = rng.normal(size=(ROWS, 1)) * (rng.random((ROWS, 1)) < 0.9)
  lengths = rng.integers(1, LENGTH + 1, ROWS)
  mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.float64)
  return Batch(
    below(old + moved * rng.normal(size=shape)),
    old,
    below(old + 0.2 * rng.normal(size=shape)),
    np.broadcast_to(advantages, shape) * mask,
    mask,
    rng.choice([0.0, 0.25, 1.0], ROWS),
    0.01 * rng.normal(size=ROWS),
  )


# -- ours ---------------------------------------------------------------------


def ours(objective, aggregate) -> Function:
  """Return the function that computes our loss and its gradient."""

  def loss(log_probs, batch):
    tokens = ScoredTokens(
      log_probs=log_probs,
      old_log_probs=batch.old_log_probs,
      ref_log_probs=batch.ref_log_probs,
      entropy=jnp.zeros_like(log_probs),
      old_entropy=jnp.zeros_like(log_probs),
      advantages=batch.advantages,
      mask=batch.mask,
    )
    return policy_loss(objective, aggregate, tokens)[0]

  compute = jax.jit(jax.value_and_grad(loss))
  return lambda batch: compute(batch.log_probs, batch)


def our_rules(*rules, has_baseline: bool = True) -> Function:
  """Return the function that computes our advantages, f64[ROWS, LENGTH].

  Args:
    rules: the rules in order.
    has_baseline: whether a baseline is among them; otherwise the rewards are
      the advantages.
  """

  def compute(batch: Batch) -> tuple[np.ndarray]:
    rewards = jnp.asarray(batch.rewards.reshape(-1, GROUP))
    responses = Responses(
      rewards=rewards,
      correctness=rewards,
      lengths=jnp.asarray(batch.mask.sum(1).reshape(-1, GROUP)),
      parts={
        "one": rewards,
        "other": jnp.asarray(batch.others.reshape(-1, GROUP)),
      },
      advantages=None if has_baseline else rewards,
    )
    for rule in rules:
      responses = rule(responses)
    return (np.asarray(responses.advantages).reshape(-1, 1) * batch.mask,)

  return compute


# -- theirs -------------------------------------------------------------------


def differentiate(loss: Callable[[Any], Any], batch: Batch):
  """Return a torch loss and its gradient with respect to log pi."""
  log_probs = torch.tensor(batch.log_probs, requires_grad=True)
  value = loss(log_probs)
  value.backward()
  return value.detach().numpy(), log_probs.grad.numpy()


def verl_loss(name: str, mode: str, **settings: Any) -> Function:
  """Return one of verl's policy losses."""
  config = ActorConfig(
    strategy="fsdp",
    rollout_n=GROUP,
    ppo_micro_batch_size_per_gpu=1,
    **settings,
  )
  function = core_algos.get_policy_loss_fn(name)
  return lambda batch: differentiate(
    lambda log_probs: function(
      torch.tensor(batch.old_log_probs),
      log_probs,
      torch.tensor(batch.advantages),
      torch.tensor(batch.mask),
      mode,
      config,
    )[0],
    batch,
  )


def verl_rule(name: str, **settings: Any) -> Function:
  """Return one of verl's estimators of advantages."""
  function = core_algos.get_adv_estimator_fn(name)
  parts = {"gdpo_reward_keys": ["one", "other"], "gdpo_reward_weights": [1, 2]}
  config = AlgoConfig(**settings, **(parts if name == "gdpo" else {}))

  def compute(batch: Batch) -> tuple[np.ndarray]:
    rewards = np.zeros_like(batch.mask)
    last = batch.mask.sum(1).astype(int) - 1
    rewards[np.arange(ROWS), last] = batch.rewards
    advantages, _ = function(
      token_level_rewards=torch.tensor(rewards),
      response_mask=torch.tensor(batch.mask),
      index=np.arange(ROWS) // GROUP,
      config=config,
      non_tensor_batch={"one": batch.rewards, "other": batch.others},
      batch={
        "prompts": torch.zeros(ROWS, 1),
        "attention_mask": torch.tensor(
          np.pad(batch.mask, ((0, 0), (1, 0)), constant_values=1)
        ).long(),
      },
    )
    return (advantages.numpy(),)

  return compute


def trl_loss(
  loss_type: str,
  level: str = "token",
  beta: float = 0.0,
  threshold: float | None = None,
) -> Function:
  """Return TRL's loss: GRPOTrainer's own method, without a trainer."""
  args = SimpleNamespace(
    delta=None,
    use_bias_correction_kl=True,
    sapo_temperature_pos=1.0,
    sapo_temperature_neg=1.05,
    vespo_k_pos=2.0,
    vespo_lambda_pos=3.0,
    vespo_k_neg=3.0,
    vespo_lambda_neg=2.0,
    steps_per_generation=1,
  )
  same = lambda x, **_: x
  trainer = SimpleNamespace(
    args=args,
    loss_type=loss_type,
    importance_sampling_level=level,
    beta=beta,
    epsilon_low=0.2,
    epsilon_high=0.2,
    top_entropy_quantile=1.0,
    off_policy_mask_threshold=threshold,
    get_off_policy_mask=GRPOTrainer.get_off_policy_mask,
    use_vllm=False,
    aux_loss_enabled=False,
    _entropy_bonus_enabled=False,
    current_gradient_accumulation_steps=1,
    accelerator=SimpleNamespace(num_processes=1, reduce=same, gather=same),
    model=SimpleNamespace(training=True),
    get_gamma_weights=GRPOTrainer.get_gamma_weights,
    _metrics={"train": collections.defaultdict(list)},
  )

  def loss(batch: Batch):
    def of(log_probs):
      trainer._get_per_token_logps_and_entropies = lambda *_, **__: (
        (log_probs, torch.zeros_like(log_probs), None)
      )
      tensor = {k: torch.tensor(v) for k, v in batch._asdict().items()}
      tokens = torch.zeros(ROWS, LENGTH, dtype=torch.long)
      inputs = {
        "prompt_ids": tokens[:, :1],
        "prompt_mask": tokens[:, :1],
        "completion_ids": tokens,
        "completion_mask": tensor["mask"],
        "advantages": tensor["advantages"][:, 0],
        "old_per_token_logps": tensor["old_log_probs"],
        "ref_per_token_logps": tensor["ref_log_probs"],
        "num_items_in_batch": tensor["mask"].sum(),
      }
      return GRPOTrainer._compute_loss(trainer, trainer.model, inputs)

    return differentiate(of, batch)

  return loss


def near_reference(function: Function) -> Function:
  """Return a function of batches in which k3 is below 10 nats."""

  def compute(batch: Batch):
    x = np.clip(batch.log_probs - batch.ref_log_probs, -2.0, 2.0)
    return function(batch._replace(ref_log_probs=batch.log_probs - x))

  return compute


def untied(function: Function) -> Function:
  """Return a function of batches in which no two log-probs are equal.

  A share of the tokens of highest covariance is not unique among equal ones.
  """
  places = np.arange(ROWS * LENGTH).reshape(ROWS, LENGTH)

  def compute(batch: Batch):
    return function(batch._replace(log_probs=batch.log_probs - 1e-6 * places))

  return compute


# -- the table ----------------------------------------------------------------


CLIP = {"clip_low": 0.2, "clip_high": 0.2}
OUR_KL = ours(
  chain(
    ppo_clip(**CLIP, dual_clip=None),
    reference_kl(kl_coef=0.05, ratio_weighted=True),
  ),
  token_mean,
)
VERL_CLIP = {"clip_ratio_low": 0.15, "clip_ratio_high": 0.15}
SHARE = 0.2  # of the tokens that KL-Cov pulls
TABLE: Mapping[str, tuple[Function, Function]] = {
  "verl vanilla = ppo_clip": (
    ours(ppo_clip(clip_low=0.2, clip_high=0.28, dual_clip=3.0), token_mean),
    verl_loss(
      "vanilla",
      "token-mean",
      clip_ratio_c=3.0,
      clip_ratio_low=0.2,
      clip_ratio_high=0.28,
    ),
  ),
  "verl clip_cov = clip_cov, all candidates dropped": (
    ours(clip_cov(fraction=1.0, cov_low=0.2, cov_high=2.0, **CLIP), token_mean),
    verl_loss(
      "clip_cov",
      "token-mean",
      clip_ratio_low=0.2,
      clip_ratio_high=0.2,
      policy_loss=PolicyLossConfig(
        clip_cov_ratio=1.0, clip_cov_lb=0.2, clip_cov_ub=2.0
      ),
    ),
  ),
  "verl kl_cov = kl_cov": (
    untied(ours(kl_cov(fraction=SHARE, kl_coef=0.7), token_mean)),
    untied(
      verl_loss(
        "kl_cov",
        "token-mean",
        policy_loss=PolicyLossConfig(kl_cov_ratio=SHARE, ppo_kl_coef=0.7),
      )
    ),
  ),
  "verl gspo = gspo": (
    ours(gspo(clip_low=0.05, clip_high=0.1), seq_mean_token_mean),
    verl_loss(
      "gspo",
      "seq-mean-token-mean",
      clip_ratio_low=0.05,
      clip_ratio_high=0.1,
    ),
  ),
  "verl cispo = cispo": (
    ours(cispo(**CLIP), token_mean),
    verl_loss("cispo", "token-mean", clip_ratio_low=0.2, clip_ratio_high=0.2),
  ),
  "verl gpg = reinforce": (
    ours(reinforce(), token_mean),
    verl_loss("gpg", "token-mean"),
  ),
  "verl geo_mean = gmpo": (
    ours(gmpo(), seq_mean_token_mean),
    verl_loss("geo_mean", "", clip_ratio_low=0.4, clip_ratio_high=0.4),
  ),
  "verl sapo = sapo": (
    ours(sapo(), seq_mean_token_mean),
    verl_loss("sapo", ""),
  ),
  "verl dppo_tv = dppo": (
    ours(dppo(), token_mean),
    verl_loss("dppo_tv", "token-mean", clip_ratio_c=20.0, **VERL_CLIP),
  ),
  "verl dppo_kl = dppo, kl": (
    ours(dppo(divergence="kl", low=0.05, high=0.05), token_mean),
    verl_loss(
      "dppo_kl",
      "token-mean",
      clip_ratio_c=20.0,
      clip_ratio_low=0.05,
      clip_ratio_high=0.05,
    ),
  ),
  "verl grpo_passk = best_of_group": (
    our_rules(best_of_group()),
    verl_rule("grpo_passk", norm_adv_by_std_in_grpo=False),
  ),
  "the same with verl's default, divided by the deviation": (
    our_rules(best_of_group()),
    verl_rule("grpo_passk"),
  ),
  "verl reinforce_plus_plus_baseline = dr_grpo, whiten": (
    our_rules(dr_grpo(), whiten()),
    verl_rule("reinforce_plus_plus_baseline"),
  ),
  "verl reinforce_plus_plus = whiten": (
    our_rules(whiten(), has_baseline=False),
    verl_rule("reinforce_plus_plus"),
  ),
  "verl gdpo = gdpo, whiten": (
    our_rules(gdpo(parts=("one", "other"), weights=(1.0, 2.0)), whiten()),
    verl_rule("gdpo"),
  ),
  "TRL sapo = sapo": (ours(sapo(), seq_mean_token_mean), trl_loss("sapo")),
  "TRL vespo = vespo": (ours(vespo(), token_mean), trl_loss("vespo")),
  "TRL luspo = luspo": (
    ours(luspo(**CLIP), seq_mean_token_sum),
    trl_loss("luspo", "sequence"),
  ),
  "TRL bnpo, bias-corrected KL = ppo_clip, reference_kl": (
    near_reference(OUR_KL),
    near_reference(trl_loss("bnpo", beta=0.05)),
  ),
  "the same with k3 above 10 nats": (OUR_KL, trl_loss("bnpo", beta=0.05)),
  "TRL bnpo, off-policy mask = ppo_clip, off_policy_mask": (
    ours(
      chain(ppo_clip(**CLIP, dual_clip=None), off_policy_mask(threshold=0.1)),
      token_mean,
    ),
    trl_loss("bnpo", threshold=0.1),
  ),
}


def largest_differences(own: Function, other: Function, batches) -> list[float]:
  """Return the largest relative difference of loss and gradient, or advantages.

  Advantages have one number, losses with their gradients have two.
  """
  pairs = [(own(batch), other(batch)) for batch in batches]
  arrays = lambda side, i: [np.asarray(pair[side][i]) for pair in pairs]
  per_token = len(pairs[0][0]) - 1
  mine, theirs = arrays(0, per_token), arrays(1, per_token)
  errors = [
    float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
    for a, b in zip(mine, theirs, strict=True)
    if np.any(b)
  ]
  if not per_token:
    return [max(errors)]
  mine, theirs = np.array(arrays(0, 0)), np.array(arrays(1, 0))
  size = np.sqrt(np.mean(theirs**2))
  return [float(np.max(np.abs(mine - theirs)) / size), max(errors)]


def main() -> None:
  """Print the table."""
  (number,) = [int(a.partition("=")[2]) for a in sys.argv[1:]] or [200]
  batches = [random_batch(seed) for seed in range(number)]
  print(f"{number} batches; largest relative difference in float64")
  print(f"{'':<54}{'loss':>10}{'gradient':>10}{'advantages':>12}")
  for name, (own, other) in TABLE.items():
    errors = [f"{x:.1e}" for x in largest_differences(own, other, batches)]
    cells = ["", "", *errors] if len(errors) == 1 else [*errors, ""]
    print(f"{name:<54}{cells[0]:>10}{cells[1]:>10}{cells[2]:>12}", flush=True)


if __name__ == "__main__":
  with jax.enable_x64(True):
    main()
