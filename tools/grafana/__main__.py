"""Writes the dashboards: ``make generate`` makes ``deploy/grafana/dashboards/*.json``.

``--check`` writes nothing and exits with 1 when a file is out of date, which is what the tests do. Edit the modules
beside this one, or ``docs/runbook.md``, not the files; what is changed in Grafana's own editor is not kept.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from tools.grafana.databases import DATABASES
from tools.grafana.orders import ORDERS
from tools.grafana.panels import dashboard
from tools.grafana.stream import STREAM
from tools.grafana.temporal import TEMPORAL

FOLDER: Final = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "dashboards"
BOARDS: Final = (ORDERS, STREAM, DATABASES, TEMPORAL)


def files(folder: Path = FOLDER) -> dict[Path, str]:
    """Every dashboard's file, and what belongs in it."""
    return {folder / f"{board.name}.json": json.dumps(dashboard(board), indent=2) + "\n" for board in BOARDS}


def outdated(folder: Path = FOLDER) -> list[Path]:
    """Files that differ from what the code says, or that no board stands behind."""
    wanted = files(folder)
    differ = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    return differ + [path for path in folder.glob("*.json") if path not in wanted]


def main(argv: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Write them, or with ``--check`` look at them. The exit code: 1 when one is out of date."""
    parser = argparse.ArgumentParser(prog="tools.grafana.__main__", description="Write the Grafana dashboards.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is out of date")
    check = parser.parse_args(argv).check
    stale = outdated(folder)
    wanted = files(folder)
    for path in stale:
        if not check and path in wanted:
            path.write_text(wanted[path], "utf-8")
        elif not check:
            path.unlink()
        sys.stdout.write(f"{'out of date' if check else 'written'}: {path.name}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
