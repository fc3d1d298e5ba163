"""The dashboards' files, ``deploy/grafana/dashboards/*.json``.

Edit the modules beside this one, or ``docs/runbook.md``, not the files; what is changed in Grafana's own editor is not
kept.
"""

import json
from pathlib import Path
from typing import Final

from tools.grafana.databases import DATABASES
from tools.grafana.orders import ORDERS
from tools.grafana.panels import dashboard
from tools.grafana.stream import STREAM
from tools.grafana.temporal import TEMPORAL

FOLDER: Final = Path("deploy/grafana/dashboards")
BOARDS: Final = (ORDERS, STREAM, DATABASES, TEMPORAL)


def files() -> dict[Path, str]:
    """Every dashboard's text, by its path from the repository's root."""
    return {FOLDER / f"{board.name}.json": json.dumps(dashboard(board), indent=2) + "\n" for board in BOARDS}
