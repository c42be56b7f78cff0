"""Compute losses and gradients of verl and TRL on given batches.

    python -m experiments.peers.torch_losses batches.npz losses.npz

This runs in an environment with torch and with verl, TRL or both. The command
is started by experiments.peers.losses, which describes the arrays of
batches.npz. For every method M that an installed package has, losses.npz gets
M/loss f64[N] and M/gradient f64[N, B, T], the gradient in the log-probs of the
current policy. For every rule R it gets R/advantages f64[N, B, T].
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
import contextlib
import os
import sys
from types import SimpleNamespace
from typing import Any

os.environ.update(
  HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1"
)

import numpy as np
import torch

Batch = Mapping[str, torch.Tensor]


def verl_losses() -> dict[str, Callable[[Batch], torch.Tensor]]:
  """Return verl's policy losses by name: batch -> loss."""
  from verl.trainer.ppo import core_algos
  from verl.workers.config import ActorConfig

  def loss(mode: str, low: float, high: float, aggregation: str):
    config = object.__new__(ActorConfig)  # without the settings of a cluster
    settings = {
      "clip_ratio": high,
      "clip_ratio_low": low,
      "clip_ratio_high": high,
      "clip_ratio_c": 20.0,
      "tau_pos": 1.0,
      "tau_neg": 1.05,
      "global_batch_info": {},
    }
    for name, value in settings.items():
      object.__setattr__(config, name, value)
    compute = core_algos.get_policy_loss_fn(mode)
    return lambda b: compute(
      b["old_log_probs"],
      b["log_probs"],
      b["advantages"],
      b["mask"],
      aggregation,
      config,
    )[0]

  return {
    "verl gpg": loss("gpg", 0.2, 0.2, "token-mean"),
    "verl geo_mean": loss("geo_mean", 0.4, 0.4, "seq-mean-token-mean"),
    "verl sapo": loss("sapo", 0.2, 0.2, "seq-mean-token-mean"),
    "verl dppo_tv": loss("dppo_tv", 0.15, 0.15, "token-mean"),
    "verl dppo_kl": loss("dppo_kl", 0.05, 0.05, "token-mean"),
  }


def verl_rules() -> dict[str, Callable[[Batch], torch.Tensor]]:
  """Return verl's advantages by name: batch -> advantages [B, T]."""
  from verl.trainer.config import AlgoConfig
  from verl.trainer.ppo import core_algos

  config = AlgoConfig(norm_adv_by_std_in_grpo=False)

  def rule(name: str):
    compute = core_algos.get_adv_estimator_fn(name)

    def advantages(b: Batch) -> torch.Tensor:
      # the reward of a response stands at its last token
      last = torch.cumsum(b["mask"], 1) == b["mask"].sum(1, keepdim=True)
      return compute(
        token_level_rewards=b["rewards"][:, None] * last * b["mask"],
        response_mask=b["mask"],
        index=b["groups"].numpy(),
        config=config,
      )[0]

    return advantages

  return {
    "verl grpo_passk": rule("grpo_passk"),
    "verl reinforce_plus_plus_baseline": rule("reinforce_plus_plus_baseline"),
  }


def trl_losses() -> dict[str, Callable[[Batch], torch.Tensor]]:
  """Return TRL's losses by name: batch -> loss."""
  from trl import GRPOConfig, GRPOTrainer

  defaults = GRPOConfig(output_dir="unused", use_cpu=True, bf16=False)

  def loss(kind: str, level: str = "token", beta: float = 0.0):
    def compute(b: Batch) -> torch.Tensor:
      trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (
          b["log_probs"],
          torch.zeros_like(b["log_probs"]),
          None,
        ),
        get_gamma_weights=GRPOTrainer.get_gamma_weights,
        args=SimpleNamespace(
          use_bias_correction_kl=True,
          delta=None,
          **{
            name: getattr(defaults, name)
            for name in vars(defaults)
            if name.startswith(("sapo_", "vespo_"))
          },
        ),
        loss_type=kind,
        importance_sampling_level=level,
        beta=beta,
        epsilon_low=0.1,
        epsilon_high=0.1,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        aux_loss_enabled=False,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        _entropy_bonus_enabled=False,
        model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1,
        accelerator=SimpleNamespace(
          num_processes=1,
          gather=lambda x: x,
          reduce=lambda x, reduction: x,
        ),
        _metrics={"train": defaultdict(list)},
      )
      empty = torch.zeros((len(b["mask"]), 0), dtype=torch.long)
      ids = torch.zeros(b["mask"].shape, dtype=torch.long)
      inputs: dict[str, Any] = {
        "prompt_ids": empty,
        "prompt_mask": empty,
        "completion_ids": ids,
        "completion_mask": b["mask"],
        "advantages": b["advantages"][:, 0],
        "old_per_token_logps": b["old_log_probs"],
        "ref_per_token_logps": b["ref_log_probs"],
        "num_items_in_batch": b["mask"].sum(),
      }
      return GRPOTrainer._compute_loss(trainer, None, inputs)

    return compute

  return {
    "TRL sapo": loss("sapo"),
    "TRL vespo": loss("vespo"),
    "TRL luspo": loss("luspo", level="sequence"),
    "TRL bias-corrected KL": loss("dapo", beta=0.04),
  }


def main(source: str, target: str) -> None:
  """Compute all that the installed packages have."""
  with np.load(source) as file:
    batches = {k: torch.from_numpy(v) for k, v in file.items()}
  found: dict[str, list[np.ndarray]] = defaultdict(list)
  losses: dict[str, Callable] = {}
  rules: dict[str, Callable] = {}
  for functions, make in (
    (losses, verl_losses),
    (rules, verl_rules),
    (losses, trl_losses),
  ):
    with contextlib.suppress(ModuleNotFoundError):
      functions |= make()
  for n in range(len(batches["mask"])):
    batch = {k: v[n] for k, v in batches.items()}
    for name, compute in rules.items():
      found[f"{name}/advantages"].append(compute(batch).numpy())
    for name, compute in losses.items():
      leaf = batch["log_probs"].clone().requires_grad_()
      loss = compute({**batch, "log_probs": leaf})
      (gradient,) = torch.autograd.grad(loss, leaf)
      found[f"{name}/loss"].append(loss.detach().numpy())
      found[f"{name}/gradient"].append(gradient.numpy())
  arrays: dict[str, Any] = {n: np.stack(values) for n, values in found.items()}
  np.savez(target, **arrays)


if __name__ == "__main__":
  main(*sys.argv[1:])
