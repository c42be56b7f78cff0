"""What every command does alike: it parses flags and says what is wrong."""

from collections.abc import Sequence
import sys

from absl import app

EXIT_INTERRUPTED = 130


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses the command line; a wrong setting ends it with one line.

  ml-collections raises from the depth of a config where the key is unknown or
  the type is wrong, and suggests the nearest key.
  """
  try:
    return app.parse_flags_with_usage(list(argv))
  except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
    text = str(error.args[0] if error.args else error)
    message = " ".join(text.replace("\\n", " ").split()).replace("\\'", "'")
    message = message.strip("'\"").replace("' Did you", "; did you")
    unknown = isinstance(error, AttributeError | KeyError)
    kind = "unknown setting" if unknown else "wrong setting"
    print(f"error: {kind}: {message}", file=sys.stderr)
    sys.exit(2)
