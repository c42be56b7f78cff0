"""Text from outside, made safe for a terminal."""


def harmless(text: str, *, keep_lines: bool = False) -> str:
  """Escape control characters, so that a terminal shows and never obeys them.

  Args:
    text: any text.
    keep_lines: whether line ends stay; otherwise the result is one line.
  """
  kept = "\n" if keep_lines else ""
  return "".join(
    char
    if char.isprintable() or char in kept
    else char.encode("unicode_escape").decode()
    for char in text
  )
