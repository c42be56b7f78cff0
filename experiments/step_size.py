"""How far along an optimizer step do the ledger's predictions hold?

    python -m experiments.step_size --output=experiments/figures/step_size.svg

GRPO trains from the base with the demo's settings, as in experiments/ledger.py.
After the first eight rollout steps, one optimizer step of each update is taken
again, and the entropy of its own tokens is measured at fractions of this step,
down to an eighth and up to twice its length. The prediction of a fraction s is

    first order  s H'(0)
    trapezoid    s (H'(0) + H'(s)) / 2
    Simpson      s (H'(0) + 4 H'(s / 2) + H'(s)) / 6

where H'(s) is the exact derivative of the entropy along the step. The table has
the mean and standard deviation of the measured changes, and for each rule the
root mean square of its error, in 1e-4 nats, and the correlation of predicted
with measured changes over all entries. If a prediction misses because the
entropy is curved along the step, then the errors of the three rules fall with
s^2, s^3 and s^5. An error of rounding or of what is measured would not fall.
"""

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from entrojax.assembly.run import build
from entrojax.loop.rollout_step import (
  Position,
  start_step,
  wait_for_update,
)
from entrojax.reporting.pictures import Curve, Panel, Picture
from entrojax.reporting.static import to_svg
from entrojax.system.command_line import command
from experiments.ledger import FIRST_STEPS, ledger_config

FLAGS = flags.FlagValues()
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "seeds", flag_values=FLAGS)
_ENTRIES = flags.DEFINE_integer(
  "entries", 36, "entries of each run", lower_bound=3, flag_values=FLAGS
)
_KEPT = flags.DEFINE_string(
  "kept", "runs/step_size.jsonl", "file of the entries", flag_values=FLAGS
)
_OUTPUT = flags.DEFINE_string(
  "output", "", "the SVG file to write", flag_values=FLAGS
)

AT = (0.0, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0)  # fractions of the step
PREDICTED = AT[2:]  # those whose half is measured, too
RULES = ("first order", "trapezoid", "Simpson")


@jax.jit
def _between(before, after, fraction):
  return jax.tree.map(lambda x, y: x + fraction * (y - x), before, after)


def measure_run(seed: int, number: int, kept: Path) -> None:
  """Train, and append the entropies and derivatives of each entry to a file.

  Args:
    seed: the seed of the run.
    number: entries after the first rollout steps.
    kept: a line for each entry is appended to this file.
  """
  run = build(ledger_config("grpo", seed, number))
  functions = run.functions.ledger
  position = Position(
    run.state, run.ref_params, jax.random.key(seed), 0, step=0, tokens=0
  )
  for rollout_step in range(FIRST_STEPS + number):
    position, record = start_step(run, position)
    wait_for_update(record)
    entry, position = position.entry, position._replace(entry=None)
    if rollout_step < FIRST_STEPS or entry is None:
      continue
    step, rows = entry.step, entry.step.own.batch
    mask = np.asarray(rows.response_mask) > 0
    entropy: list[float] = []
    change: list[float] = []
    for fraction in AT:
      params = _between(step.before, step.after, jnp.float32(fraction))
      tokens = functions.measure_tokens(
        params, step.before, step.after, rows.tokens, rows.positions
      )
      values = np.asarray(tokens.entropy), np.asarray(tokens.change)
      for numbers, value in zip((entropy, change), values, strict=True):
        numbers.append(float(value[mask].mean(dtype=np.float64)))
    line = {
      "seed": seed,
      "rollout_step": rollout_step + 1,
      "entropy": entropy,
      "change": change,
    }
    with kept.open("a") as file:
      file.write(json.dumps(line) + "\n")


def read_entries(kept: Path) -> list[dict[str, Any]]:
  """Read the entries of all runs; without the file there are none."""
  lines = kept.read_text().splitlines() if kept.exists() else []
  return [json.loads(line) for line in lines]


def compare(
  entropy: np.ndarray, change: np.ndarray
) -> dict[float, Mapping[str, np.ndarray]]:
  """Return the measured and predicted changes of entries at each fraction.

  Args:
    entropy: f64[K, len(AT)], nats.
    change: f64[K, len(AT)], derivatives of the entropy along the whole step.

  Returns:
    fraction -> "measured" or a name of RULES -> f64[K], nats.
  """
  start = change[:, 0]
  compared: dict[float, Mapping[str, np.ndarray]] = {}
  for s in PREDICTED:
    middle, end = change[:, AT.index(s / 2)], change[:, AT.index(s)]
    compared[s] = {
      "measured": entropy[:, AT.index(s)] - entropy[:, 0],
      "first order": s * start,
      "trapezoid": s * (start + end) / 2,
      "Simpson": s * (start + 4 * middle + end) / 6,
    }
  return compared


@command(FLAGS)
def main() -> None:
  """Measure what is not measured yet; print the table and draw the figure."""
  kept, number = Path(_KEPT.value), _ENTRIES.value
  kept.parent.mkdir(parents=True, exist_ok=True)
  seeds = list(map(int, _SEEDS.value))
  for seed in seeds:
    own = [e for e in read_entries(kept) if e["seed"] == seed]
    if len(own) < number:
      others = [e for e in read_entries(kept) if e["seed"] != seed]
      kept.write_text("".join(json.dumps(e) + "\n" for e in others))
      measure_run(seed, number, kept)
  entries = [
    e
    for e in read_entries(kept)
    if e["seed"] in seeds and e["rollout_step"] <= FIRST_STEPS + number
  ]
  compared = compare(
    *(np.array([e[name] for e in entries]) for name in ("entropy", "change"))
  )
  print(f"{len(entries)} entries; changes and errors in 1e-4 nats")
  print(f"{'step':>7}{'measured':>17}" + "".join(f"{r:>19}" for r in RULES))
  correlations: dict[str, list[float]] = {rule: [] for rule in RULES}
  for s, changes in compared.items():
    measured, cells = 1e4 * changes["measured"], ""
    for rule in RULES:
      off = 1e4 * changes[rule] - measured
      correlation = float(np.corrcoef(changes[rule], measured)[0, 1])
      correlations[rule].append(correlation)
      cells += f"{np.sqrt(np.mean(off**2)):12.4f} {correlation:.4f}"
    spread = f"{measured.mean():+9.2f} ± {measured.std():5.2f}"
    print(f"{s:7g}{spread}{cells}")
  if _OUTPUT.value:
    curves = [
      Curve(i, np.array(PREDICTED), 1 - np.array(correlations[rule]), dots=True)
      for i, rule in enumerate(RULES)
    ]
    panel = Panel("1 - correlation with measured change", curves, log_y=True)
    picture = Picture([panel], "length, in optimizer steps")
    Path(_OUTPUT.value).write_text(to_svg(picture, RULES))


if __name__ == "__main__":
  main()
