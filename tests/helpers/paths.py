"""Where the repository and the recorded values of the tests lie."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # the repository
GOLDENS = ROOT / "tests" / "goldens"  # values from independent derivations
