"""Where things are in the repository, however deep the file that asks stands."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
SAMPLES: Final = ROOT / "samples"
MIGRATIONS: Final = ROOT / "migrations"
HISTORIES: Final = ROOT / "tests" / "histories"
