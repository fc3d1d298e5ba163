"""``python -m tools.generate`` writes everything that is made from code; ``--check`` says what is not current.

A generator gives texts by their paths from the repository's root, and writes nothing: this is the one place that
writes or compares. The same code gives the same bytes.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from bench import page as benchmarks
from events import generate as events
from tools.generate import pages, roles, statements, transitions
from tools.grafana import dashboards
from tools.mutants import patches

ROOT: Final = Path(__file__).resolve().parents[2]

GENERATORS: Final[tuple[Callable[[], dict[Path, str]], ...]] = (
    pages.files,
    roles.files,
    statements.files,
    dashboards.files,
    events.files,
    patches.files,
    benchmarks.files,
)
#: Folders in which nothing else belongs, and what is looked for in each.
FOLDERS: Final = ((dashboards.FOLDER, "*.json"), (events.SCHEMAS, "*.json"), (benchmarks.FOLDER, "*.svg"))


class State(Enum):
    """Why a file is not as it should be; in words."""

    OUTDATED = "out of date"
    LEFT_OVER = "left over, no generator makes it"


class Difference(NamedTuple):
    """A file that differs from what the generators say. ``path``: from the root; ``text``: what belongs in it."""

    path: Path
    state: State
    text: str = ""


def differences(root: Path = ROOT) -> list[Difference]:
    """What is missing, old or left over below ``root``."""
    return list(_differences(root))


def _differences(root: Path) -> Iterator[Difference]:
    wanted: dict[Path, str] = {}
    for files in GENERATORS:
        wanted |= files()
    for path, text in wanted.items():
        if not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text:
            yield Difference(path, State.OUTDATED, text)
    for folder, pattern in FOLDERS:
        for found in sorted((root / folder).glob(pattern)):
            if found.relative_to(root) not in wanted:
                yield Difference(found.relative_to(root), State.LEFT_OVER)


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Write, or with ``--check`` compare. The exit code: 1 when the check finds something."""
    parser = argparse.ArgumentParser(prog="tools.generate", description="Write everything that is made from code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is out of date")
    check = parser.parse_args(argv).check
    found = differences(root)
    for path, state, text in found:
        if check:
            sys.stdout.write(f"{path}: {state.value}\n")
        elif state is State.LEFT_OVER:
            (root / path).unlink()
            sys.stdout.write(f"{path}: removed, no generator makes it\n")
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path}: written\n")
    if not check:
        return 0
    broken = [*events.broken(events.schemas()), *transitions.missing(ROOT / "migrations")]
    sys.stdout.writelines(f"{sentence}\n" for sentence in broken)
    if found:
        sys.stdout.write("run: make generate\n")
    return 1 if found or broken else 0


if __name__ == "__main__":
    sys.exit(main())
