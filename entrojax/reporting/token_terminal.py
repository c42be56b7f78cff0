"""Print responses to a terminal, with their tokens coloured.

Without a terminal the text has no colours. Control characters are spelled out,
so that nothing in a response acts on the terminal.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.text import Text

from entrojax.reporting.formatting import number
from entrojax.reporting.token_logs import TokenSamples
from entrojax.reporting.token_view import shown
from entrojax.reporting.variants import Variant
from entrojax.system.terminal import harmless


class Quantity(NamedTuple):
  """A number of each token, and the backgrounds that show it."""

  values: Callable[[TokenSamples], np.ndarray]  # f[N]
  levels: Sequence[float]  # ascending, one fewer than the styles
  styles: Sequence[str]  # of the ranges between the levels


_HEAT = ("", "on #4a3320", "on #7a4a1e", "on #a85c14", "black on #e07b1f")
_SIGNED = ("on #a8480f", "on #5f3a22", "", "on #1e4363", "on #1f6fb2")

QUANTITIES: Mapping[str, Quantity] = {
  "entropy": Quantity(lambda s: s.entropy, (0.05, 0.3, 0.7, 1.2), _HEAT),
  "log_prob": Quantity(lambda s: -s.log_probs, (0.1, 0.7, 1.6, 3.0), _HEAT),
  "advantage": Quantity(
    lambda s: np.repeat(s.advantages, s.lengths),
    (-0.5, -1e-6, 1e-6, 0.5),
    _SIGNED,
  ),
  "log_ratio": Quantity(
    lambda s: s.log_probs - s.base_log_probs, (-0.3, -0.05, 0.05, 0.3), _SIGNED
  ),
  "touched": Quantity(
    lambda s: sum(s.touched.values(), np.zeros(s.ids.size, int)),
    (0.5,),
    ("", "black on #1eb287"),
  ),
}


def print_responses(
  variants: Sequence[Variant], data: str, *, prompt: int, by: str
) -> None:
  """Print the responses to a prompt in the first and the last evaluation.

  Of each variant the run with the lowest seed is shown.

  Args:
    variants: all variants.
    data: the evaluation set.
    prompt: the number of the kept prompt, from 0.
    by: the quantity that colours the tokens, a key of QUANTITIES.

  Raises:
    ValueError: there are fewer prompts.
  """
  console = Console(highlight=False, soft_wrap=True)
  for variant in variants:
    for pair in variant.runs[0].tokens:
      for samples in pair if pair[0].data == data else ():
        prompts = list(dict.fromkeys(samples.prompts))
        if prompt >= len(prompts):
          raise ValueError(
            f"--prompt={prompt}: {variant.name} has kept {len(prompts)} prompts"
          )
        chosen = prompts[prompt]
        console.print(
          Text(
            f"{variant.name}, step {samples.step}, coloured by {by}: "
            + harmless(chosen)
          )
        )
        for index, own in enumerate(samples.prompts):
          if own == chosen:
            console.print(coloured(samples, index, QUANTITIES[by]))


def coloured(samples: TokenSamples, response: int, quantity: Quantity) -> Text:
  """Return a response with its reward and verdict, its tokens coloured."""
  end = int(samples.ends[response])
  start = end - int(samples.lengths[response])
  values = quantity.values(samples)[start:end]
  levels = np.searchsorted(quantity.levels, values, side="right")
  reward = number(float(samples.rewards[response]))
  text = Text(f"  {reward} {harmless(samples.reasons[response])}: ", style="")
  ids = samples.ids[start:end]
  pieces = zip(samples.pieces(response), levels, ids, strict=True)
  for piece, level, token in pieces:
    name = piece or samples.names.get(int(token), "?")
    text.append(shown(name).replace("⏎\n", "⏎"), style=quantity.styles[level])
  return text
