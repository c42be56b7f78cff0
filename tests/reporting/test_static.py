"""Pictures without scripts: what their legends take."""

import pytest

from entrojax.reporting.static import legend_columns


@pytest.mark.parametrize(
  ("labels", "columns"),
  [
    (["grpo"], 1),
    (["grpo", "entropic", "dashed: entropy target"], 3),
    (["grpo,steps=40", "entropic,target=0.16", "projection,target=0.16"], 2),
    (["a" * 50, "b" * 50], 1),
    # two columns would have three and two labels, the first of 3 inches
    ([*("a" * 30, "b" * 8, "c" * 8), *("d" * 34, "e" * 8)], 1),
    ([*("a" * 30, "b" * 8, "c" * 8), *("d" * 20, "e" * 8)], 2),
  ],
)
def test_a_legend_has_as_many_columns_as_fit(labels, columns):
  assert legend_columns(labels) == columns
