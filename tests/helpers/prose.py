"""Find phrases that a stranger has to read twice, in comments and pages.

    python -m tests.helpers.prose [FOLDER]

Prints every place in the docstrings and comments of Python files and in
Markdown files, and exits with status 1 if there are more than LIMIT. A pattern
is a smell and not a proof: some matching sentences read well, which is why a
few places are allowed.
"""

from collections.abc import Iterator
import io
from pathlib import Path
import re
import sys
import tokenize

LIMIT = 20
IGNORED = {"runs", "build"}

PATTERNS = {
  "write 'resume' or 'continue'": r"\b(?:goes|go|went|going) on\b",
  "write 'usually'": r"\bmostly\b",
  "write 'otherwise'": (
    r"\b(?:would|could|else) else\b|, else (?:it|they|the|a)\b"
  ),
  "repeat the noun": r"\blikewise\b|\bas above\b|\bas of an?\b",
  "name the thing": r"\b(?:that|those) of\b",
  "begin with a verb that programmers use": (
    r"^\s*r?(?:\"\"\")?"
    r"(?:(?:Returns|Makes|Says|Tells) (?:what|how|whether|which)|Makes)\b"
  ),
  "say meaning, shape and unit": (
    r"^\s+\w+: of (?:the|a|an|it|its|each|this)\b[\w\s]{0,16}\.?$"
  ),
  "write 'per'": (
    r"\b(?:nats|tokens|numbers|rows?|bytes|steps|updates|samples|line|one) an? "
    r"(?:token|step|update|prompt|device|row|second|stage|batch|core|run"
    r"|response)\b"
  ),
  "use a plain clause": (
    r"\bwhat there is\b|\bof which\b|\b(?:one|there) is none\b"
    r"|\bwhich begins? with\b|\bthe same but for\b"
    r"|\bbut for (?:those|that|what|a)\b|\bif \w+ miss\b"
    r"|\bso many (?:tokens|rows|steps)\b|\bof so many\b"
  ),
  "software does not speak": (
    r"\b(?:is|are|was) (?:told|asked|said)\b|\bsays (?:so|it|that|what|how)\b"
  ),
}


def prose(path: Path) -> Iterator[tuple[int, str]]:
  """Yield the numbered lines of a page, or of docstrings and comments."""
  source = path.read_text(encoding="utf-8")
  if path.suffix == ".md":
    yield from enumerate(source.splitlines(), 1)
    return
  for token in tokenize.generate_tokens(io.StringIO(source).readline):
    is_docstring = token.type == tokenize.STRING and '"""' in token.string[:5]
    if is_docstring or token.type == tokenize.COMMENT:
      yield from enumerate(token.string.splitlines(), token.start[0])


def smells(paths: list[Path]) -> Iterator[str]:
  """Yield 'file:line: advice: text' for each place that matches a pattern."""
  for path in paths:
    for number, line in prose(path):
      for advice, pattern in PATTERNS.items():
        if re.search(pattern, line):
          yield f"{path}:{number}: {advice}: {line.strip()[:100]}"


def main(argv: list[str]) -> int:
  """Print the places below a folder; return the exit status."""
  root = Path(argv[0] if argv else ".")
  own = Path(__file__).resolve()
  paths = [
    path
    for path in sorted(root.rglob("*"))
    if path.suffix in (".py", ".md")
    and not IGNORED & set(path.parts)
    and not any(part.startswith(".") for part in path.relative_to(root).parts)
    and path.resolve() != own
  ]
  places = list(smells(paths))
  print("\n".join(places))
  print(f"prose: {len(places)} places to read again, at most {LIMIT} allowed")
  return int(len(places) > LIMIT)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
