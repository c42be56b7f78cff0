"""The folders of the repository and of the values that tests compare with."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # the repository
# values from independent derivations; first_step.json alone is recorded
GOLDENS = ROOT / "tests" / "goldens"
