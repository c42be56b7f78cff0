"""Segmentation: cut a response into steps and assign its tokens to the steps.

A step is a span (start, end) of characters. The spans of a text are in order
and cover it without gaps. White space after a line or a sentence belongs to the
step that it follows.

A segmenter maps a text to its spans. `sat` builds the segmenter of Segment any
Text, which BCPG-NSA uses (arXiv 2505.14403, sec. 3.1). `rules` builds one that
needs no model, and `by_pieces` one from any function that cuts a text. `rules`
and `sat` take time linear in the length of the text. `token_steps` then finds
the step of each token; the EOS belongs to the last step.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import itertools
import re

import numpy as np

from entrojax.arguments import require_at_least
from entrojax.data.tokenizer import Tokenizer

Span = tuple[int, int]
Segmenter = Callable[[str], list[Span]]  # no text makes it raise

_LINE = re.compile(r"[^\n]*\n\s*|[^\n]+")
# The look behind lets a match begin where a row of marks begins. Otherwise a
# row without a blank behind it would be searched from each of its marks.
_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]+[ \t]+|[。！？]+[ \t]*")
_DOLLARS = re.compile(r"\\.|\${1,2}")  # an escaped dollar is no delimiter


def rules(*, min_length: int = 40, separators: Sequence[str] = ()) -> Segmenter:
  """Build a segmenter that cuts at lines, sentences and given separators.

  It cuts after line breaks, and within a line after the ends of sentences
  outside $...$. A piece that is too short is joined to the next one; the last
  piece is joined to the previous one.

  Args:
    min_length: the fewest characters of a step, at least 1. 40 characters are
      about ten tokens of a language model. Responses made of single symbols
      need a smaller number.
    separators: further texts after which to cut, such as ";".

  Raises:
    ValueError: an argument is out of range.
  """
  require_at_least("rules.min_length", min_length, 1)
  if not all(separators):
    raise ValueError(f"rules.separators has an empty text: {separators}")
  separator = re.compile("|".join(map(re.escape, separators)) or r"(?!)")

  def segment(text: str) -> list[Span]:
    cuts = {match.end() for match in separator.finditer(text)}
    for line in _LINE.finditer(text):
      cuts |= {line.start() + end for end in _sentence_ends(line[0])}
      cuts.add(line.end())
    return _merge_short(sorted(cuts), len(text), min_length)

  return segment


def sat(*, model: str = "sat-3l-sm") -> Segmenter:
  """Build the segmenter of Segment any Text (arXiv 2406.16678).

  Args:
    model: a folder, or the name of a model that wtpsplit-lite downloads.

  Raises:
    ValueError: the package wtpsplit-lite is not installed.
  """
  try:
    from wtpsplit_lite import SaT
  except ImportError as error:
    raise ValueError(
      "segmentation.name = 'sat' needs the package wtpsplit-lite: "
      "pip install -e '.[segmentation]'"
    ) from error
  return by_pieces(SaT(model).split)


def by_pieces(split: Callable[[str], Iterable[str]]) -> Segmenter:
  """Build a segmenter from a function that cuts a text into pieces.

  Args:
    split: text -> pieces. If the pieces joined are not the text, the whole text
      becomes one step.
  """

  def segment(text: str) -> list[Span]:
    pieces = list(split(text)) if text.strip() else []
    if "".join(pieces) != text:
      pieces = [text]
    ends = list(itertools.accumulate(map(len, pieces)))
    return _merge_short(ends, len(text), 1)

  return segment


def token_steps(
  tokens: Sequence[int], spans: Sequence[Span], tokenizer: Tokenizer
) -> np.ndarray:
  """Find the step of each token of a response.

  A token belongs to the step that contains its first character other than white
  space; if it has only white space, its first character decides. A token after
  the end of the text, such as the EOS, belongs to the last step, because the
  steps divide the whole response.

  Args:
    tokens: the L tokens of the response.
    spans: the steps of the text that the tokens decode to.
    tokenizer: the tokenizer that decodes them.

  Returns:
    i32[L], the number of each token's step; -1 if the text has no step.
  """
  text, starts = tokenizer.decode_with_starts(tokens)
  steps = np.full(len(tokens), len(spans) - 1, np.int32)
  ends = [end for _, end in spans]
  for i, (start, end) in enumerate(itertools.pairwise([*starts, len(text)])):
    if start >= len(text):
      break
    blanks = len(text[start:end]) - len(text[start:end].lstrip())
    first = start + blanks if blanks < end - start else start
    step = int(np.searchsorted(ends, first, side="right"))
    steps[i] = step if step < len(spans) else -1
  return steps


def _sentence_ends(line: str) -> Iterator[int]:
  """Yield the ends of the sentences in a line, except those within $...$."""
  inside = np.zeros(len(line) + 1, bool)
  opened: re.Match | None = None
  for match in _DOLLARS.finditer(line):
    if match[0].startswith("\\"):
      continue
    if opened is not None and opened[0] == match[0]:
      inside[opened.start() : match.end()] = True
      opened = None
    elif opened is None:
      opened = match
  for match in _SENTENCE_END.finditer(line):
    if not inside[match.start()]:
      yield match.end()


def _merge_short(
  cuts: Sequence[int], length: int, min_length: int
) -> list[Span]:
  """Return the spans between cuts, with short ones joined to a neighbour."""
  kept = [0]
  for cut in cuts:
    if cut - kept[-1] >= min_length and cut < length:
      kept.append(cut)
  if len(kept) > 1 and length - kept[-1] < min_length:
    kept.pop()
  return list(itertools.pairwise([*kept, length])) if length else []
