"""Format responses as text whose tokens are coloured, as HTML.

`token_view` is a chapter of the report. For each prompt it shows responses of
the first and the last evaluation side by side, from one run of each variant.

Every token is an element whose classes hold the levels of its entropy, its
probability, its advantage and its log-ratio to the base, and whether a member
of the objective touches it. page/tokens.css gives the colours of the quantity
that the reader picks. All text is escaped; control characters are spelled out.
"""

from collections.abc import Sequence
from html import escape
import math
from typing import NamedTuple

import numpy as np

from entrojax.reporting.formatting import number
from entrojax.reporting.token_logs import TokenSamples
from entrojax.reporting.variants import Variant
from entrojax.system.terminal import harmless

Variants = Sequence[Variant]

_BUDGET = 20_000  # tokens on a page
_RESPONSES = 2  # to a prompt in one evaluation
_TOKENS = 600  # of a response
_LONGEST = 200  # characters of a token
_TITLE = 500  # characters of a prompt

# Levels 0, 1, 2, ... begin at these numbers; level 0 has no colour.
ENTROPY_LEVELS = (0.05, 0.3, 0.7, 1.2)  # nats
PROBABILITY_LEVELS = (0.9, 0.5, 0.2, 0.05)  # below these
ADVANTAGE_LEVELS = (1e-6, 0.5, 1.5)  # of its size
RATIO_LEVELS = (0.05, 0.3, 1.0)  # of its size, nats


def token_view(variants: Variants) -> str:
  """Format responses of the first and the last evaluation, prompt by prompt.

  Of each variant the run with the lowest seed is shown.

  Returns:
    The chapter, or "" if no run has kept tokens.
  """
  by_prompt: dict[tuple[str, str], list[_Pair]] = {}
  for variant in variants:
    for first, last in variant.runs[0].tokens:
      for prompt in dict.fromkeys([*first.prompts, *last.prompts]):
        pair = _Pair(variant.name, first, last)
        by_prompt.setdefault((first.data, prompt), []).append(pair)
  if not by_prompt:
    return ""
  parts: list[str] = []
  spent = 0
  for (data, prompt), pairs in by_prompt.items():
    spent += sum(_num_tokens(side, prompt) for p in pairs for side in p[1:])
    if parts and spent > _BUDGET:
      break
    parts.append(_prompt_html(data, prompt, pairs, opened=not parts))
  count = f"{len(parts)} of {len(by_prompt)} prompts are shown."
  return _HEADING + _PICKER + "".join(parts) + f'<p class="key">{count}</p>'


class _Pair(NamedTuple):
  """The first and the last evaluation of one run."""

  name: str  # of the variant
  first: TokenSamples
  last: TokenSamples


def _responses(samples: TokenSamples, prompt: str) -> list[int]:
  """Return the numbers of the responses to a prompt that are shown."""
  own = [i for i, text in enumerate(samples.prompts) if text == prompt]
  return own[:_RESPONSES]


def _num_tokens(samples: TokenSamples, prompt: str) -> int:
  lengths = samples.lengths[_responses(samples, prompt)]
  return int(np.minimum(lengths, _TOKENS).sum())


def _prompt_html(
  data: str, prompt: str, pairs: Sequence[_Pair], *, opened: bool
) -> str:
  """Format the responses to a prompt: the first evaluation left of the last."""
  title = "\n".join(map(harmless, prompt[:_TITLE].split("\n")))
  parts = [
    f'<details class="sample"{" open" if opened else ""}>'
    f"<summary>{escape(data)}: {escape(title)}</summary>"
  ]
  for name, *sides in pairs:
    parts.append(f'<h4>{escape(name)}</h4><div class="pair">')
    for samples in sides:
      rows = _responses(samples, prompt)
      parts.append(
        f"<div>{''.join(_response_html(samples, row) for row in rows)}</div>"
      )
    parts.append("</div>")
  return "".join(parts) + "</details>"


def _response_html(samples: TokenSamples, response: int) -> str:
  facts = (
    f"step {number(samples.step)}, "
    f"reward {number(float(samples.rewards[response]))} "
    f"({harmless(samples.reasons[response])}), "
    f"advantage {float(samples.advantages[response]):.3g}"
  )
  return (
    f'<p class="key">{escape(facts)}</p>'
    f'<div class="tokens">{tokens_html(samples, response)}</div>'
  )


def tokens_html(samples: TokenSamples, response: int) -> str:
  """Format the tokens of one response, at most the first `_TOKENS`."""
  end = int(samples.ends[response])
  start = end - int(samples.lengths[response])
  pieces = samples.pieces(response)
  advantage = float(samples.advantages[response])
  parts = [
    _token_html(samples, start + i, piece, advantage)
    for i, piece in enumerate(pieces[:_TOKENS])
  ]
  if rest := len(pieces[_TOKENS:]):
    parts.append(f" … ({rest:,} more tokens)")
  return "".join(parts)


def _token_html(
  samples: TokenSamples, at: int, piece: str, advantage: float
) -> str:
  """Format the token at a place among all tokens."""
  entropy, log_prob = float(samples.entropy[at]), float(samples.log_probs[at])
  ratio = log_prob - float(samples.base_log_probs[at])
  touched = [name for name, marks in samples.touched.items() if marks[at]]
  probability = math.exp(min(log_prob, 0.0))
  classes = [
    _level("e", entropy, ENTROPY_LEVELS),
    _level("l", -probability, [-p for p in PROBABILITY_LEVELS]),
    _signed("a", advantage, ADVANTAGE_LEVELS),
    _signed("r", ratio, RATIO_LEVELS),
    "t" if touched else "",
    "" if piece else "s",
  ]
  facts = (
    f"entropy {entropy:.3g}\nprobability {probability:.3g}\n"
    f"advantage {advantage:.3g}\nlog-ratio {ratio:.3g}"
  )
  if touched:
    facts += f"\ntouched by {', '.join(touched)}"
  text = shown(piece or samples.names.get(int(samples.ids[at]), "?"))
  names = " ".join(filter(None, classes))
  return f'<i class="{names}" title="{escape(facts)}">{escape(text)}</i>'


def shown(piece: str) -> str:
  """Return a token's text, with line ends marked and control characters
  spelled out, at most `_LONGEST` characters of it.
  """
  rest = len(piece) - _LONGEST
  lines = [harmless(line) for line in piece[:_LONGEST].split("\n")]
  more = f"… ({rest:,} more characters)" if rest > 0 else ""
  return "⏎\n".join(lines) + more


def _level(name: str, value: float, levels: Sequence[float]) -> str:
  """Return the class of a level; "" for level 0 and for NaN."""
  level = int(np.searchsorted(levels, value, side="right"))
  return f"{name}{level}" if level and not math.isnan(value) else ""


def _signed(name: str, value: float, levels: Sequence[float]) -> str:
  return _level(name + ("p" if value > 0 else "n"), abs(value), levels)


def _scale(name: str, labels: Sequence[tuple[str, str]]) -> str:
  """Return the legend of a quantity: its classes with their labels."""
  items = "".join(f'<i class="{c}">{escape(t)}</i> ' for c, t in labels)
  return f'<span class="scale {name}">{items}</span>'


def _picker() -> str:
  names = {
    "e": "entropy",
    "l": "log-prob",
    "a": "advantage",
    "r": "log-ratio to the base",
    "t": "touched by a control",
  }
  buttons = "".join(
    f'<label><input type="radio" name="by" class="pick-{key}"'
    f"{' checked' if key == 'e' else ''}> {text}</label>"
    for key, text in names.items()
  )
  entropy = [
    (f"e{i}", f"≥ {x:g} nats") for i, x in enumerate(ENTROPY_LEVELS, 1)
  ]
  rare = [
    (f"l{i}", f"probability < {x:g}")
    for i, x in enumerate(PROBABILITY_LEVELS, 1)
  ]
  signs = {"n": "−", "p": "+"}
  advantage = [
    (f"a{sign}{i}", f"{text}{x:g}" if x > 1e-3 else text)
    for sign, text in signs.items()
    for i, x in enumerate(ADVANTAGE_LEVELS, 1)
  ]
  ratio = [
    (f"r{sign}{i}", f"{text}{x:g}")
    for sign, text in signs.items()
    for i, x in enumerate(RATIO_LEVELS, 1)
  ]
  return (
    f'<fieldset class="by"><span>colour by</span>{buttons}'
    + _scale("e", entropy)
    + _scale("l", rare)
    + _scale("a", advantage)
    + _scale("r", ratio)
    + _scale("t", [("t", "a member of the objective changes its gradient")])
    + "</fieldset>"
  )


_HEADING = (
  "<h3>Responses, token by token</h3><p>The first and the last evaluation of "
  "the first seed of each variant. Pointing at a token shows its numbers. The "
  "advantage is what the run's rules give the response among all samples of "
  "its prompt in the evaluation. The log-ratio is log π of the policy minus "
  "log π of the base, on the same text. A token is touched if a member of the "
  "objective would change its gradient in the first update on these responses. "
  "Ratios are 1 there, so a clip, or a penalty on the distance from the "
  "sampling policy, touches nothing.</p>"
)
_PICKER = _picker()
