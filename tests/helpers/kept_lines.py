"""Invent kept lines of the tournament."""

import base64

import numpy as np

from experiments.tournament.lines import Line

PROMPTS = 8


def invented(entry="kl_cov", seed=0, entropy=0.4, height=0.3, **changes):
  """Return a line with pass@1 = height, and all other numbers made up."""
  right = np.full(PROMPTS, round(64 * height), np.uint8)
  line = Line(
    name=f"{entry},seed={seed}",
    entry=entry,
    method=entry.partition(",")[0],
    seed=seed,
    steps=200,
    settings={},
    start={
      "entropy": 0.5,
      "pass@1": 0.2,
      "pass@8": 0.7,
      "pass@64": 0.9,
      "maj@64": 0.4,
    },
    end={
      "entropy": entropy,
      "pass@1": height,
      "pass@8": 0.6,
      "pass@64": 0.8,
      "maj@64": 0.5,
    },
    right={
      "num_samples": 64,
      "prompts": "same",
      "counts": base64.b64encode(right.tobytes()).decode(),
    },
    course={"actor/entropy": [entropy] * 60},
    seconds={"step": 0.5, "steps": 100.0},
    commit=None,
    versions={},
    cores=2,
  )
  return line._replace(**changes)


def curve(seed=0):
  """Return GRPO's lines: pass@1 falls from 0.3 at 0.3 nats to 0.2 at 0.5."""
  return [
    invented("grpo,steps=200", seed, 0.4, 0.25),
    invented("grpo,steps=600", seed, 0.3, 0.3),
  ]


def by_name(lines):
  return {line.name: line for line in lines}
