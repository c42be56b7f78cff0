"""Segmentation: a response cut into steps, and the step of each of its tokens.

A step is a span (start, end) of characters. The spans of a text lie in order,
without gaps: white space belongs to the step that it follows.

BCPG-NSA (arXiv 2505.14403, sec. 3.1) cuts with Segment any Text: `sat`. `rules`
needs no model. Whatever the text, both take time linear in its length.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import itertools
import re

import numpy as np

from entrojax.data.tokenizer import Tokenizer

Span = tuple[int, int]
Segmenter = Callable[[str], list[Span]]  # never raises for what a text says

_LINE = re.compile(r"[^\n]*\n\s*|[^\n]+")
_SENTENCE_END = re.compile(r"[.!?]+[ \t]+|[。！？]+[ \t]*")
_DOLLARS = re.compile(r"\\.|\${1,2}")  # what is escaped is no delimiter


def rules(*, min_length: int = 40, separators: Sequence[str] = ()) -> Segmenter:
  """Makes a segmenter by rules.

  It cuts after the ends of lines, and within a line after the ends of
  sentences outside $...$. Pieces that are too short join what follows them,
  the last one what precedes it.

  Args:
    min_length: characters of a step, at least 1. About 40 make ten tokens of a
      language model; answers of single symbols need less.
    separators: texts after which to cut as well, as ";".
  """
  if min_length < 1:
    raise ValueError(f"rules.min_length must be at least 1, got {min_length}")
  if not all(separators):
    raise ValueError(f"rules.separators has an empty text: {separators}")
  asked = re.compile("|".join(map(re.escape, separators)) or r"(?!)")

  def segment(text: str) -> list[Span]:
    cuts = {match.end() for match in asked.finditer(text)}
    for line in _LINE.finditer(text):
      cuts |= {line.start() + end for end in _sentence_ends(line[0])}
      cuts.add(line.end())
    return _merged(sorted(cuts), len(text), min_length)

  return segment


def sat(*, model: str = "sat-3l-sm") -> Segmenter:
  """Makes the segmenter of Segment any Text (arXiv 2406.16678).

  Args:
    model: a folder, or a name that wtpsplit-lite downloads.

  Raises:
    ValueError: the package is missing; the message says how to install it.
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
  """Makes a segmenter of what cuts a text into pieces that join to the text.

  Where they do not, the text is one step.
  """

  def segment(text: str) -> list[Span]:
    pieces = list(split(text)) if text.strip() else []
    if "".join(pieces) != text:
      pieces = [text]
    return _merged(list(itertools.accumulate(map(len, pieces))), len(text), 1)

  return segment


def token_steps(
  tokens: Sequence[int], spans: Sequence[Span], tokenizer: Tokenizer
) -> np.ndarray:
  """Returns the step of each token of a response, i32[L]; -1 = of none.

  A token belongs to the step that holds its first character that is no space,
  or its first one where it has only spaces. The EOS belongs to no step: to end
  there is a decision of its own.

  Args:
    tokens: of the response, L.
    spans: of the text that they decode to.
    tokenizer: decodes them.
  """
  text, starts = tokenizer.decode_with_starts(tokens)
  steps = np.full(len(tokens), -1, np.int32)
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
  """Yields where sentences of a line end, its mathematics left whole."""
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


def _merged(cuts: Sequence[int], length: int, min_length: int) -> list[Span]:
  """Returns the spans between cuts, short ones joined to their neighbours."""
  kept = [0]
  for cut in cuts:
    if cut - kept[-1] >= min_length and cut < length:
      kept.append(cut)
  if len(kept) > 1 and length - kept[-1] < min_length:
    kept.pop()
  return list(itertools.pairwise([*kept, length])) if length else []
