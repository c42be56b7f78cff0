r"""Extract final answers in mathematics and compare their spelling.

`boxed` and `final_answer` extract the answer of a response. `exact` and
`normalised` compare two answers, the latter after `normalise`.

`normalise` removes differences of spelling only: \frac12 and 1/2 become equal,
and so do $x^{2}$ and x**2, or 1,000.0 and 1000. It computes nothing. Answers
with the same meaning may stay different (0.5 and 1/2; a verifier's equality
knows better), but answers that become equal read the same. Case is ignored
except in the names of LaTeX commands, so N and n are one variable. An answer of
more than 512 characters is only stripped. No function here raises on a str, and
all take time linear in the length of a response.
"""

import functools
import re

MAX_LENGTH = 512  # characters; `normalise` leaves longer answers as they are
_MAX_NESTING = 16  # nested braces that are rewritten; deeper ones stay

_BOX = re.compile(r"\\boxed\s*\{")
_BRACES = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)


def boxed(response: str) -> str | None:
  r"""Extract the inside of the last \boxed{...}, which may hold nested braces.

  Returns:
    The inside without outer white space; None if there is no box, if the last
    one is not closed (the response was cut off), or if it is empty.
  """
  start, depth = -1, 1
  for box in _BOX.finditer(response):
    start = box.end()
  if start < 0:
    return None
  for match in _BRACES.finditer(response, start):
    if match[0] == "{":
      depth += 1
    elif match[0] == "}":
      depth -= 1
      if depth == 0:
        return response[start : match.start()].strip() or None
  return None


def final_answer(response: str) -> str | None:
  r"""Extract the last balanced \boxed{...}; without one, the last <answer> tag.

  This is more lenient than `boxed`: if the last box was cut off, an earlier one
  is taken. Use it to cluster answers, not for rewards. SEED-GRPO, arXiv
  2505.12346, extracts answers in mathematics in this way.

  Returns:
    The answer without outer white space; None if there is neither a box nor a
    tag, or if it is empty.
  """
  opened: list[tuple[int, bool]] = []  # (start of the inside, whether boxed)
  start, answer = -1, ""
  for match in _BRACES.finditer(response):
    if match[0].endswith("{") and match[0] != r"\{":
      opened.append((match.end(), match[0] != "{"))
    elif match[0] == "}" and opened:
      inside, boxed = opened.pop()
      if boxed and inside > start:
        start, answer = inside, response[inside : match.start()]
  if start < 0:
    end = response.rfind("</answer>")
    start = response.rfind("<answer>", 0, max(end, 0))
    answer = response[start + len("<answer>") : end] if start >= 0 else ""
  return answer.strip() or None


def exact(a: str, b: str) -> bool:
  """Return whether two answers are the same string apart from outer space."""
  return a.strip() == b.strip()


def normalised(a: str, b: str) -> bool:
  """Return whether two answers are equal apart from their spelling."""
  return normalise(a) == normalise(b)


def normalise(answer: str) -> str:
  """Rewrite an answer in a uniform spelling; see the module's docstring.

  An answer of more than MAX_LENGTH characters is only stripped.
  """
  text = respell(answer)
  return text if len(text) > MAX_LENGTH else _fold_case(text)


@functools.lru_cache(maxsize=16_384)
def _fold_case(text: str) -> str:
  # \Delta is not \delta, but True is true
  return re.sub(
    r"\\[A-Za-z]+|[^\\]+",
    lambda m: m[0] if m[0][0] == "\\" else m[0].casefold(),
    text,
  )


def respelt(a: str, b: str) -> bool:
  """Return whether two answers have the same spelling and the same letters.

  Upper and lower case differ in single letters, which are variables, but not in
  words.
  """
  first, second = (
    re.sub(r"(?<!\\)\b[A-Za-z]{2,}\b", lambda m: m[0].casefold(), respell(x))
    for x in (a, b)
  )
  return first == second


def respell(answer: str) -> str:
  """Rewrite an answer as `normalise` does, but keep upper and lower case."""
  text = answer.strip()
  return text if len(text) > MAX_LENGTH else _respell(text)


@functools.lru_cache(maxsize=16_384)  # a comparison asks several times
def _respell(text: str) -> str:
  for pattern, replacement in _SPELLINGS:
    text = pattern.sub(replacement, text)
  for _ in range(_MAX_NESTING):  # groups from the inside out
    before = text
    for pattern, replace in _GROUPS:
      text = pattern.sub(replace, text)
    if text == before:
      break
  return _number(re.sub(r"(?<=.)\.$", "", text.strip(), flags=re.DOTALL))


def _number(text: str) -> str:
  """Rewrite +012.50 as 12.5; a text that is not one number stays as it is."""
  match = re.fullmatch(r"([+-]?)([0-9]*)(?:\.([0-9]*))?", text)
  if not match or not re.search("[0-9]", text):
    return text
  whole = match[2].lstrip("0") or "0"
  part = (match[3] or "").rstrip("0")
  sign = "-" if match[1] == "-" and (whole, part) != ("0", "") else ""
  return f"{sign}{whole}.{part}" if part else f"{sign}{whole}"


def _operand(text: str) -> str:
  """Add parentheses unless it is a number, a letter or has parentheses."""
  plain = re.fullmatch(r"[0-9]+(?:\.[0-9]+)?|[A-Za-z]|\([^()]*\)", text)
  return text if plain else f"({text})"


def _fraction(match: re.Match) -> str:
  """Write a/b, in parentheses if a neighbour could bind to a or b."""
  fraction = f"{_operand(match[1])}/{_operand(match[2])}"
  before = match.string[: match.start()][-1:]
  after = match.string[match.end() :][:1]
  free = before in ("", *"+-=<>,([{") and after in ("", *"+-=<>,)]}.")
  return fraction if free else f"({fraction})"


def _compile(*rules):
  """Compile rules (pattern, replacement)."""
  return tuple((re.compile(pattern), new) for pattern, new in rules)


_SPELLINGS = _compile(
  (r"[·×⋅]|\\(?:cdot|times)(?![A-Za-z])", "*"),
  (r"÷|\\div(?![A-Za-z])", "/"),
  (r"[−‐‑‒–﹣－]", "-"),
  (r"\*\*", "^"),
  (r"√\s*([0-9]+(?:\.[0-9]+)?)", r"\\sqrt{\1}"),  # √91; in TeX, \sqrt91 is √9 1
  (r"√", r"\\sqrt "),
  (r"π", r"\\pi "),
  (r"∞", r"\\infty "),
  (r"≤|\\leq(?![A-Za-z])", r"\\le "),
  (r"≥|\\geq(?![A-Za-z])", r"\\ge "),
  (r"≠|\\neq(?![A-Za-z])", r"\\ne "),
  (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degree(?![A-Za-z])", "°"),
  (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
  (r"\\(?:left|right|displaystyle)(?![A-Za-z])", ""),
  (r"∅|\\varnothing(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset "),
  (r"(?<=[0-9])(?:\{,\}|,\\!)(?=[0-9]{3}(?![0-9]))", ""),  # 9{,}500
  (r"\{,\}", ","),
  (r"\\!|(?<=[0-9])\\,(?=[0-9])", ""),
  (r"\\%", "%"),
  (r"\\?\$|(?<!\\)\\[()\[\],;: ]|\\q?quad(?![A-Za-z])|~", " "),
  (
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname)"
    r"(?![A-Za-z])\s*\{([^{}]*)\}",
    r"\1",
  ),
  # thousands; a list still has spaces after its commas at this point
  (
    r"\A[\s+-]*[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])",
    lambda m: m[0].replace(",", ""),
  ),
  # a space matters only between two letters or two digits
  (r"\s+", " "),
  (r"(?<=[0-9]) (?![0-9])|(?<=[^\W\d_]) (?![^\W\d_])|(?<![^\W_]) ", ""),
)

_GROUPS = _compile(
  (r"\\sqrt\s*([0-9A-Za-z])", r"\\sqrt{\1}"),
  (r"\\sqrt\{([^{}]*)\}", r"sqrt(\1)"),
  (r"\\sqrt\(", "sqrt("),
  (r"([\^_])\{([^{}]*)\}", lambda m: m[1] + _operand(m[2])),
  (r"\\frac\s*([0-9A-Za-z])", r"\\frac{\1}"),
  (r"\\frac(\{[^{}]*\})\s*([0-9A-Za-z])", r"\\frac\1{\2}"),
  (r"\\frac\{([^{}]*)\}\{([^{}]*)\}", _fraction),
)
