"""Write into all notebooks where this repository is published, and its tag.

    python colab/address.py someone/entrojax v0.1.0

A badge opens a notebook at that address on GitHub, and a notebook that is
opened without a checkout clones the repository from there. Until this command
has been run, they name OWNER/entrojax, which is no address, and such a notebook
raises an error instead of cloning. The command can be repeated.
"""

from pathlib import Path
import re
import sys

_GITHUB = r"github(?:\.com)?/"  # as in github.com/ and in Colab's addresses


def with_address(text: str, repository: str, tag: str) -> str:
  """Return a notebook's text with another address.

  Args:
    text: the JSON text of a notebook.
    repository: OWNER/NAME on GitHub.
    tag: the tag or branch.
  """
  text = re.sub(
    # a branch may have slashes in its name
    rf"({_GITHUB})[\w.-]+/[\w.-]+/blob/[\w./-]+?/colab/",
    rf"\g<1>{repository}/blob/{tag}/colab/",
    text,
  )
  return re.sub(
    r'URL, TAG = \\"https://github\.com/[\w.-]+/[\w.-]+\\", \\"[^"\\]+\\"',
    rf'URL, TAG = \\"https://github.com/{repository}\\", \\"{tag}\\"',
    text,
  )


def main(arguments: list[str]) -> None:
  """Change all notebooks of this folder; exit with a message if misused."""
  match arguments:
    case [repository, tag] if re.fullmatch(
      r"[\w.-]+/[\w.-]+ [\w.-]+(/[\w.-]+)*", f"{repository} {tag}"
    ):
      for path in sorted(Path(__file__).parent.glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        path.write_text(with_address(text, repository, tag), encoding="utf-8")
        print(f"{path.name}: {repository} at {tag}")
    case _:
      sys.exit("usage: python colab/address.py OWNER/REPOSITORY TAG")


if __name__ == "__main__":
  main(sys.argv[1:])
