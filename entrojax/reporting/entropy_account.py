"""Say in words where the entropy of a run went, from the entries of its ledger.

For each variant, the sentences say how its entropy changed, which tokens lost
or gained it, in which quadrant of advantage and probability, and what the parts
of the method did. Changes are means over the ledger's entries, in units of 1e-4
nats per token and optimizer step, and ± is the standard error of the mean.

A change is called clear if it is at least CLEAR standard errors from 0, over at
least MIN_ENTRIES entries. The sentences name only clear changes, and say where
nothing is clear. A share is given only of a clear whole.
"""

from collections.abc import Sequence
from html import escape
import math
from typing import NamedTuple

import numpy as np

from entrojax.entropy.token_groups import SPLITS
from entrojax.reporting import ledger_sections
from entrojax.reporting.formatting import percent
from entrojax.reporting.run_logs import ENTROPY, RunLog, series
from entrojax.reporting.section import Variants
from entrojax.reporting.variants import Variant

CLEAR = 3.0  # standard errors
MIN_ENTRIES = 10

_UNIT = 1e4
_FIFTHS = ("lowest", "second-lowest", "middle", "second-highest", "highest")
_PLACES = ("first", "second", "third", "fourth", "last")
# split -> what its groups are called, in their order
_GROUPS = {
  "by_entropy": [
    f"the fifth of the tokens with the {name} entropy" for name in _FIFTHS
  ],
  "by_position": [f"the {name} fifth of each response" for name in _PLACES],
  "by_verdict": ["right responses", "wrong responses"],
  "by_sign": [
    "probable tokens of better responses",
    "rare tokens of better responses",
    "probable tokens of worse responses",
    "rare tokens of worse responses",
    "tokens without an advantage",
  ],
}
_PARTS = {
  "history": "the momentum of earlier steps",
  "policy_gradient": "the plain policy gradient",
  "projection": "the projection",
}


class Estimate(NamedTuple):
  """The mean of a number over entries."""

  mean: float
  error: float  # standard error
  number: int  # of entries

  @property
  def is_clear(self) -> bool:
    """Whether the mean differs clearly from 0."""
    enough = self.number >= MIN_ENTRIES
    return enough and abs(self.mean) >= CLEAR * self.error and self.mean != 0

  def __str__(self) -> str:
    return f"{_UNIT * self.mean:.2f} ± {_UNIT * self.error:.2f}"


def estimate(values: np.ndarray) -> Estimate:
  """Estimate the mean of entries f64[K], ignoring NaN."""
  values = values[np.isfinite(values)]
  if values.size < 2:
    return Estimate(math.nan, math.nan, values.size)
  error = float(values.std(ddof=1)) / math.sqrt(values.size)
  return Estimate(float(values.mean()), error, values.size)


def share(part: np.ndarray, whole: np.ndarray) -> Estimate:
  """Estimate the mean of a part f64[K] divided by the mean of the whole."""
  kept = np.isfinite(part) & np.isfinite(whole)
  part, whole = part[kept], whole[kept]
  ratio = part.mean() / whole.mean()
  rest = estimate(part - ratio * whole)  # the error of a ratio of means
  return Estimate(ratio, rest.error / abs(whole.mean()), part.size)


def account_html(variants: Variants) -> str:
  """Format the account of each variant that kept a ledger; "" if none did."""
  parts = []
  for variant in variants:
    answers = account(variant)
    if answers:
      parts.append(f"<h4>{escape(variant.name)}</h4><dl>")
      for question, sentences in answers.items():
        lines = "<br>".join(map(escape, sentences))
        parts.append(f"<dt>{escape(question)}</dt><dd>{lines}</dd>")
      parts.append("</dl>")
  return "".join(parts)


def account(variant: Variant) -> dict[str, list[str]]:
  """Return question -> sentences; empty without entries of a ledger."""
  own = estimate(ledger_sections.of_variant(variant, "measured"))
  if not own.number:
    return {}
  answers = {"What happened?": [*_whole_run(variant), *_one_step(variant, own)]}
  if own.number < MIN_ENTRIES:
    return answers
  return answers | {
    "Which tokens?": [
      sentence
      for split in ("by_entropy", "by_position", "by_verdict")
      for sentence in _groups(variant, split)
    ],
    "Which quadrant?": _groups(variant, "by_sign"),
    "What did the method and its control do?": [
      *_reach(variant),
      *_method(variant),
      *_controller(variant),
    ],
  }


def _whole_run(variant: Variant) -> list[str]:
  """Say how the entropy of the training batches changed over the run."""
  runs = [run for run in variant.runs if run.has(ENTROPY)]
  if not runs:
    return []
  ends = [_ends(run, ENTROPY) for run in runs]
  first, last = np.mean(ends, axis=0)
  start = np.mean([series(run, ENTROPY)[1][0] for run in runs])
  return [
    f"The entropy of the training batches was {start:.3f} nats per token at "
    f"first, {first:.3f} on average over the first tenth of training, and "
    f"{last:.3f} over the last."
  ]


def _ends(run: RunLog, metric: str) -> tuple[float, float]:
  """Return the mean of a metric in the first and in the last tenth of a run."""
  values = series(run, metric)[1]
  number = math.ceil(values.size / 10)
  return float(values[:number].mean()), float(values[-number:].mean())


def _one_step(variant: Variant, own: Estimate) -> list[str]:
  """Say what a step does to own tokens and to others."""
  columns = {
    column: ledger_sections.of_variant(variant, "measured", column)
    for column in ledger_sections.TITLES
  }
  listed = _join(
    [
      f"of {ledger_sections.TITLES[column]} by {estimate(values)}"
      for column, values in columns.items()
      if np.isfinite(values).any()
    ]
  )
  sentences = [
    f"The ledger measured {own.number} single optimizer steps. One step "
    f"changed the entropy {listed}."
  ]
  if own.number < MIN_ENTRIES:
    few = f"To say more, {MIN_ENTRIES} steps are needed."
    return [*sentences, few]
  if not own.is_clear:
    return [*sentences, "The change of own tokens is not clear."]
  if np.isfinite(columns["held_back"]).any():
    followed = share(columns["held_back"], columns["own"])
    sentences.append(
      f"Held-back tokens have {_percents(followed)} of the change of own "
      "tokens."
    )
  explained = share(
    ledger_sections.of_variant(variant, "first_order"), columns["own"]
  )
  sentences.append(
    f"The first order explains {_percents(explained)} of the change of own "
    "tokens; the rest is curvature along the step."
  )
  return sentences


def _groups(variant: Variant, split: str) -> list[str]:
  """Say which groups of a split clearly lost or gained entropy."""
  whole = ledger_sections.of_variant(variant, "measured")
  changes = ledger_sections.of_variant(variant, f"measured/{split}")
  tokens = ledger_sections.of_variant(variant, f"tokens/{split}")
  clear = [
    (change, place)
    for place in range(len(SPLITS[split]))
    if (change := estimate(changes[:, place])).is_clear
  ]
  sentences = []
  for change, place in sorted(clear):
    verb = "lost" if change.mean < 0 else "gained"
    size = change._replace(mean=abs(change.mean))
    of_tokens = percent(float(np.nanmean(tokens[:, place])))
    text = (
      f"{_GROUPS[split][place]} {verb} {size}, with {of_tokens} of the tokens"
    )
    if estimate(whole).is_clear and change.mean * np.nanmean(whole) > 0:
      text += f"; this is {_percents(share(changes[:, place], whole))} of "
      text += "the whole change"
    sentences.append(_capital(f"{text}."))
  if not sentences:
    kind = split.removeprefix("by_").replace("sign", "quadrant")
    sizes = np.nan_to_num(np.abs(np.nanmean(changes, axis=0)))
    place = int(np.argmax(sizes))
    largest = f"{_GROUPS[split][place]} ({estimate(changes[:, place])})"
    sentences.append(f"No change by {kind} is clear; the largest is {largest}.")
  return sentences


def _method(variant: Variant) -> list[str]:
  """Say what the parts of the method did to the entropy, to first order."""
  parts = {
    name: ledger_sections.of_variant(variant, f"contribution/{name}")
    for name in ledger_sections.contributors(variant)
  }
  sentences = []
  for name, values in parts.items():
    change = estimate(values)
    title = _PARTS.get(name, f"the loss term {name}")
    if change.number < MIN_ENTRIES:
      continue
    if change.is_clear:
      verb = "lowered" if change.mean < 0 else "raised"
      size = change._replace(mean=abs(change.mean))
      others = [parts[other] for other in parts if other != name]
      offset = _offset(values, others)
      sentences.append(f"{title} {verb} the entropy by {size}{offset}.")
    elif change.mean == change.error == 0:
      sentences.append(f"{title} did not act in these steps.")
    else:
      far = abs(change.mean) / change.error
      sentences.append(
        f"{title} had no clear effect ({change}, {far:.1f} standard errors)."
      )
  if sentences:
    sentences = [_capital(sentence) for sentence in sentences]
    sentences.append(
      "These are first-order changes by the gradient of the step itself. What "
      "a part did through earlier gradients is in the momentum."
    )
  return sentences


def _reach(variant: Variant) -> list[str]:
  """Say how many tokens each loss term touched, and how strongly."""
  sentences = []
  for name in variant.runs[0].config.get("objective") or ():
    touched, change = (
      [
        float(np.nanmean(values))
        for run in variant.runs
        if (values := series(run, f"{name}/gradient_{what}")[1]).size
      ]
      for what in ("touched", "change")
    )
    if touched and change:
      sentences.append(
        f"The loss term {name} changed the gradient of "
        f"{percent(float(np.mean(touched)))} of the tokens, by "
        f"{percent(float(np.mean(change)))} of its norm, on average over the "
        "run."
      )
  return sentences


def _offset(values: np.ndarray, others: Sequence[np.ndarray]) -> str:
  """Say how much of what the other parts do a part takes back, if it does.

  Args:
    values: f64[K], the contribution of the part to the entries.
    others: the contributions of all other parts; NaN where a part had none.
  """
  rest = np.nansum(others, axis=0) if others else np.zeros_like(values)
  if not estimate(rest).is_clear:
    return ""
  taken = share(values, -rest)
  if not 0 < taken.mean < 1:  # it acts the same way, or is itself the most
    return ""
  return f", which offsets {_percents(taken)} of what the other parts do"


def _controller(variant: Variant) -> list[str]:
  """Say how far the entropy was from the controller's target."""
  errors = [
    values[-math.ceil(values.size / 3) :]
    for run in variant.runs
    if (values := series(run, "control/error")[1]).size
  ]
  if not errors:
    return ["No controller held the entropy at a target."]
  off = float(np.nanmean(np.concatenate(errors)))
  side = "above" if off > 0 else "below"
  name = "control/coefficient"
  ends = [_ends(run, name) for run in variant.runs if run.has(name)]
  moved = []
  if ends:
    first, last = np.mean(ends, axis=0)
    moved = [
      "From the first to the last tenth of training, the controller's "
      f"coefficient went from {first:.3g} to {last:.3g}.{_sign(variant)}"
    ]
  return [
    *moved,
    f"In the last third of training, the entropy was on average {abs(off):.3f} "
    f"nats {side} the controller's target.",
  ]


def _sign(variant: Variant) -> str:
  """Say what the sign of a coefficient means, of the one that can change it."""
  control = variant.runs[0].config.get("control") or {}
  if control.get("name") != "entropic_pi":
    return ""
  return " Above 0 it lowers the entropy, below 0 it raises it."


def _percents(ratio: Estimate) -> str:
  return f"{100 * ratio.mean:.0f} ± {100 * ratio.error:.0f} %"


def _join(texts: Sequence[str]) -> str:
  """Join texts by commas and a last "and"."""
  *rest, last = texts
  return f"{', '.join(rest)} and {last}" if rest else last


def _capital(text: str) -> str:
  return text[:1].upper() + text[1:]
