"""Describe a section of a report: functions that draw and format what it shows.

A section draws a picture of all variants, or formats a table or text, or both.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from entrojax.reporting.pictures import Picture
from entrojax.reporting.variants import Variant

Variants = Sequence[Variant]


class Section(NamedTuple):
  """A heading with a caption, and a picture, a table or both."""

  title: str
  metrics: tuple[str, ...]  # that it shows; * stands for any text
  caption: str
  # returns None without data; None: a section without a picture
  draw: Callable[[Variants], Picture | None] | None
  table: Callable[[Variants], str] | None = None  # returns HTML; "": no data
