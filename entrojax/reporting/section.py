"""Describe a section of a report: functions that draw and format what it shows.

A section draws a picture of all variants and, for some, formats a table.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from entrojax.reporting.pictures import Picture
from entrojax.reporting.variants import Variant

Variants = Sequence[Variant]


class Section(NamedTuple):
  """A heading with a picture, its caption and, for some, a table."""

  title: str
  metrics: tuple[str, ...]  # that the picture shows; * stands for any text
  caption: str
  draw: Callable[[Variants], Picture | None]  # None: no data
  table: Callable[[Variants], str] | None = None  # returns HTML
