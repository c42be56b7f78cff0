"""Write run directories with invented logs, as a training run would.

Without noise every number follows a simple formula, so that tests know what a
report must say. With noise the curves look real.

    python -m tests.helpers.run_logs FOLDER [METHODS [SEEDS [STEPS]]]

writes a sweep of 3 methods and 3 seeds to look at.
"""

import json
import math
from pathlib import Path
import sys

import numpy as np

from entrojax.entropy.histogram import ENTROPY_EDGES
from entrojax.reporting.token_logs import write_tokens
from tests.helpers.token_logs import noisy_samples

BINS = len(ENTROPY_EDGES) - 1
STEPS = 30
KS = (1, 4, 64, 256)
PROMPTS = 64
METHODS = ("grpo", "entropic", "clip_cov")


def evaluation_row(step, rate, ks=KS, data="sums"):
  """Return an evaluation line: pass@k = 1 - (1 - rate)^k, error 0.01."""
  row = {"step": step, "rollout_step": step, "tokens": 100 * step}
  for k in ks:
    row[f"val/{data}/pass@{k}"] = 1 - (1 - rate) ** k
    row[f"val/{data}/pass@{k}_stderr"] = 0.01
    row[f"val/{data}/maj@{k}"] = rate
    row[f"val/{data}/maj@{k}_stderr"] = 0.01
  row[f"val/{data}/distinct_correct"] = 10.0 * (1 - rate)
  row[f"val/{data}/distinct_2"] = 0.5 * (1 - rate)
  row[f"val/{data}/entropy"] = 1 - rate
  row[f"val/{data}/response_length"] = 12.0
  return row


def training_row(step, target=None, members=("ppo_clip",)):
  """Return the line of a rollout step: entropy 1 / step, and so on."""
  entropy = 1.0 / step
  row = {
    "step": step,
    "rollout_step": step,
    "tokens": 100 * step,
    "actor/entropy": entropy,
    "actor/entropy_histogram": [float(step)] * BINS,
    "actor/ppo_kl": 0.01,
    "critic/rewards/mean": 0.6 - 0.15 * math.exp(entropy),
    "critic/groups/all_right": 0.1,
    "critic/groups/all_wrong": 0.3,
    "response_length/mean": 10.0 + step,
    "timing_s/step": 2.0,
    "timing_s/gen": 1.2,
    "timing_s/verify": 0.1,
    "timing_s/update": 0.7,
    "entropy/positive": entropy + 0.1,
    "entropy/negative": entropy - 0.1,
    # twice the change to the next step's entropy, 1 / (step + 1) - 1 / step
    "covariance/predicted_change": -2.0 / (step * (step + 1)),
    "covariance/mean": 2.0 / (step * (step + 1)),
    "covariance/positive_probable": 0.4,
    "covariance/positive_rare": -0.3,
    "covariance/negative_probable": -0.2,
    "covariance/negative_rare": 0.1,
  }
  row |= {f"{member}/gradient_change": 0.05 for member in members}
  if target is not None:
    row |= {
      "control/coefficient": 0.1 * step,
      "control/error": entropy - target,
      "control/integral": 0.5,
    }
  return row


def distances(part, rng):
  """Return distances and gradient norms by group, after a part of a run."""
  groups = ["mean"]
  groups += [f"{k}_{i}" for k in ("entropy", "position") for i in range(1, 6)]
  row = {}
  for i, group in enumerate(groups):
    row[f"kl_base/{group}"] = 0.02 * part * (1 + i % 6 + rng.random())
    row[f"kl_sampler/{group}"] = 0.001 * (1 + i % 6 + rng.random())
  for i, group in enumerate(("positive", "negative", *groups[1:6])):
    row[f"gradient_norm/{group}"] = 0.1 + 0.05 * i + 0.02 * rng.random()
  for share in (0.0002, 0.002, 0.02, 0.2):
    row[f"covariance/top_{share:g}"] = (1 - part / 2) * share**-0.2
  return row


def write_jsonl(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_run(
  path,
  target=None,
  drop=(),
  evaluated=(0, 15, STEPS),
  *,
  steps=STEPS,
  seed=0,
  config=None,
):
  """Write a run without noise.

  Args:
    path: the run directory.
    target: the entropy target of its controller, nats.
    drop: it lacks the metrics whose names begin so.
    evaluated: the steps of its evaluations.
    steps: the number of rollout steps.
    seed: its seed.
    config: more settings, nested.
  """
  rows = [training_row(step, target) for step in range(1, steps + 1)]
  rows += [evaluation_row(step, 0.2 + 0.01 * step) for step in evaluated]
  rows.sort(key=lambda row: row["step"])
  path.mkdir(parents=True)
  kept = [
    {k: v for k, v in row.items() if not k.startswith(tuple(drop))}
    for row in rows
  ]
  write_jsonl(path / "metrics.jsonl", kept)
  settings = {"seed": seed, "control": {"target": target}} | (config or {})
  (path / "config.json").write_text(json.dumps(settings))
  return path


def write_noisy_run(path, method, seed, *, steps=300, number=0, data="sums"):
  """Write a run that looks like a real one.

  Args:
    path: the run directory.
    method: the name of its objective.
    seed: its seed.
    steps: the number of rollout steps.
    number: the number of the method, which shifts its curves.
    data: its task and data set.
  """
  rng = np.random.default_rng([seed, number])
  target = None if number % 3 == 0 else (3 + number % 5) / 10
  floor = 0.15 if target is None else target
  members = ("ppo_clip", method) if number % 3 else ("ppo_clip",)
  shift = rng.normal(0, 0.02)
  rows, counts, samples = [], [], []
  for step in range(steps + 1):
    part = step / steps
    noise = rng.normal(0, 0.03, 20)
    if step:
      row = training_row(step, target, members)
      entropy = floor + (0.6 - floor) * math.exp(-4 * part) + noise[0] / 2
      reward = 0.25 + (0.15 + 0.01 * number + shift) * part + noise[1]
      shares = np.exp(-np.array(ENTROPY_EDGES[:-1]) / max(entropy, 0.05))
      parts = [name for name in row if name.startswith("covariance/")]
      row |= {name: row[name] + noise[10 + i] for i, name in enumerate(parts)}
      row |= {
        "actor/entropy": entropy,
        "actor/entropy_histogram": np.round(1000 * shares, 2).tolist(),
        "actor/ppo_kl": 0.002 + abs(noise[2]) / 20,
        "critic/rewards/mean": reward,
        "critic/groups/all_right": 0.1 + 0.2 * part + noise[3] / 2,
        "critic/groups/all_wrong": 0.5 - 0.1 * part + noise[4] / 2,
        "response_length/mean": 11 + 2 * part + 10 * noise[5],
        "timing_s/step": 0.6 + 0.3 * abs(noise[6]),
        "entropy/positive": entropy - 0.05 + noise[7] / 3,
        "entropy/negative": entropy + 0.05 + noise[8] / 3,
        "covariance/mean": 0.02 * math.exp(-3 * part) + noise[9] / 10,
        "covariance/predicted_change": -0.02 * math.exp(-3 * part)
        + noise[9] / 10,
      }
      row |= {f"{m}/gradient_change": abs(noise[17]) for m in members}
      row |= distances(part, rng)
      if target is not None:
        row["control/coefficient"] = 0.01 * part + noise[18] / 100
        row["control/error"] = entropy - target
      rows.append(row)
    if step % max(1, steps // 6) == 0:
      prompts = np.random.default_rng(7).beta(0.4, 2, PROMPTS)
      effect = (0.1 - 0.02 * number + shift) * part
      sharpness = 0.4 - 0.2 * (number % 4)
      easier = prompts * (1 - sharpness * part) + effect * prompts**0.5
      rates = np.clip(easier, 0, 1)
      right = rng.binomial(64, rates)
      ks = (1, 2, 4, 8, 16, 32, 64)
      line = evaluation_row(step, float(rates.mean()), ks, data)
      for k in ks:
        line[f"val/{data}/answer_entropy"] = float(2 - 2 * rates.mean())
        line[f"val/{data}/pass@{k}"] = float(np.mean(1 - (1 - rates) ** k))
        line[f"val/{data}/maj@{k}"] = float(rates.mean() + 0.01 * math.log(k))
      rows.append(line)
      at = {"step": step, "rollout_step": step}
      counts.append(
        {**at, "data": data, "num_samples": 64, "prompts": data}
        | {"right": right.tolist()}
        | {
          "confidence": np.maximum(rates, 0.2).round(4).tolist(),
          "majority_right": (rates > rng.random(PROMPTS)).astype(int).tolist(),
          "answer_entropy": (2 * (1 - rates)).tolist(),
        }
      )
      samples += [
        {
          "rollout_step": step,
          "prompt": f"{i} 7 9 9=10:",
          "response": f"({i}*7)-9\n<b>{method}</b> {seed} " + "8+" * 9 * i,
          "reward": float(i % 2),
          "reason": "correct" if i % 2 else "wrong value",
        }
        for i in range(4)
      ]
  path.mkdir(parents=True)
  for part in (0, 1):
    tokens = noisy_samples(
      rng, part, data=data, step=part * steps, members=members
    )
    write_tokens(path, 0, tokens)
  write_jsonl(path / "metrics.jsonl", rows)
  write_jsonl(path / "evaluations.jsonl", counts)
  write_jsonl(path / "samples.jsonl", samples)
  config = {
    "seed": seed,
    "num_rollout_steps": steps,
    "task": {"name": data, "difficulty": 1},
    "objective": [method],
    "control": {"target": target},
  }
  (path / "config.json").write_text(json.dumps(config))
  provenance = {
    "command": ["python", "-m", "entrojax.main", f"--config={method}.py"],
    "settings": {"objective": [method]},
    "versions": {"entrojax": "0.1.0", "jax": "0.10.2"},
    "commit": "0123abcd" * 5,
    "devices": {"platform": "cpu", "kind": "cpu", "count": 1},
    "resumed": [],
  }
  (path / "provenance.json").write_text(json.dumps(provenance))
  return path


def write_sweep(folder, methods=METHODS, seeds=3, *, steps=300):
  """Write a run of each method with each seed; return their folders."""
  return [
    write_noisy_run(
      folder / f"{method},seed={seed}", method, seed, steps=steps, number=number
    )
    for number, method in enumerate(methods)
    for seed in range(seeds)
  ]


if __name__ == "__main__":
  words = [*sys.argv[2:], *["3", "3", "300"][len(sys.argv) - 2 :]]
  num_methods, num_seeds, num_steps = map(int, words)
  names = [*METHODS, *(f"method_{i}" for i in range(3, num_methods))]
  write_sweep(
    Path(sys.argv[1]), names[:num_methods], num_seeds, steps=num_steps
  )
