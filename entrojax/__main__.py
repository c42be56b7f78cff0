"""Run a command of entrojax by its name: `entrojax main --config=...`.

`entrojax NAME ARGUMENTS` is `python -m entrojax.NAME ARGUMENTS`, and so is
`python -m entrojax NAME ARGUMENTS`. Without a name the commands are listed.
"""

import ast
import difflib
from pathlib import Path
import re
import runpy
import sys

# what makes a module of this folder a command
_MARK = re.compile(r"^@command\b", re.M)


def commands() -> dict[str, str]:
  """Return the first line of each command's docstring, by its name."""
  summaries = {}
  for path in sorted(Path(__file__).parent.glob("*.py")):
    source = path.read_text(encoding="utf-8")
    if path != Path(__file__) and _MARK.search(source):
      text = ast.get_docstring(ast.parse(source)) or ""
      summaries[path.stem] = text.partition("\n")[0]
  return summaries


def main() -> None:
  """Run the command that the first argument names."""
  name, *rest = sys.argv[1:] or [""]
  summaries = commands()
  if name in summaries:
    sys.argv[1:] = rest
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does, for configs
    runpy.run_module(f"entrojax.{name}", run_name="__main__", alter_sys=True)
    return
  if name in ("", "-h", "--help"):
    lines = [f"  {name:16} {text}" for name, text in summaries.items()]
    print("usage: entrojax COMMAND [ARGUMENTS]\n\ncommands:")
    print("\n".join(lines))
    print("\nentrojax COMMAND --help describes a command.")
    return
  near = difflib.get_close_matches(name, summaries, n=1)
  hint = f"did you mean {near[0]}?" if near else "entrojax --help lists them"
  print(f"error: there is no command {name!r}; {hint}", file=sys.stderr)
  sys.exit(2)


if __name__ == "__main__":
  main()
