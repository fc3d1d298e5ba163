"""What a dashboard is made of, as data, and how that becomes Grafana's JSON.

A panel says which question it answers, how it is asked, from which value on it is bad, and what the runbook says
about it: the section stands in the panel's description, so that it can be read where the eye is.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

RUNBOOK: Final = Path(__file__).resolve().parents[2] / "docs" / "runbook.md"
SCHEMA_VERSION: Final = 39
COLUMNS: Final = 24
TAG: Final = "orderflow"
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and what its series are called (``{{label}}``)."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """``question``: what it answers. ``unit``: Grafana's id of one. ``warn`` and ``bad``: from which value on.

    ``runbook``: a heading of ``docs/runbook.md``. ``words``: what is shown in place of a number. ``width``: of 24.
    """

    title: str
    question: str
    queries: Sequence[Query]
    unit: str = "short"
    runbook: str = ""
    kind: Literal["timeseries", "stat"] = "timeseries"
    warn: float | None = None
    bad: float | None = None
    #: The other way round: bad below them.
    falling: bool = False
    words: dict[str, str] = field(default_factory=dict)
    none: str = ""
    stacked: bool = False
    highest: float | None = None
    width: int = 8

    @property
    def height(self) -> int:
        """In Grafana's grid."""
        return 4 if self.kind == "stat" else 8


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. ``name`` is its file's and the end of its address; ``by_instance``: processes can be chosen."""

    name: str
    title: str
    about: str
    rows: Sequence[Row]
    by_instance: bool = False

    @property
    def panels(self) -> list[Panel]:
        """All of them, from the top."""
        return [panel for row in self.rows for panel in row.panels]


def quantile(share: float, metric: str, *by: str, where: str = "") -> str:
    """PromQL: a histogram's quantile."""
    labels = ", ".join(("le", *by))
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{where}[$__rate_interval])))"


def quantiles(metric: str) -> list[Query]:
    """Its median, and how slow the slow ones are."""
    return [Query(quantile(share, metric), name) for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))]


def rate(metric: str, *by: str, where: str = "") -> str:
    """PromQL: how often a second."""
    return f"sum by ({', '.join(by)}) (rate({metric}{where}[$__rate_interval]))"


def alert_query() -> str:
    """PromQL: what fires."""
    return 'sum by (alertname) (ALERTS{alertstate="firing", alertname=~"OrderFlow.*"})'


PAGES: Final = 'ALERTS{alertstate="firing", severity="page", alertname=~"OrderFlow.*"}'
INSTANCES: Final = 'up{job="orderflow"}'


def dashboard(board: Board) -> Json:
    """Grafana's JSON of ``board``."""
    return {
        "uid": f"{TAG}-{board.name}",
        "title": board.title,
        "description": board.about,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": list(_variables(board))},
        "annotations": {"list": [_pages()]},
        "links": [_others()],
        "panels": list(_placed(board)),
    }


def _variables(board: Board) -> Iterator[Json]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}
    if board.by_instance:
        yield {
            "name": "instance",
            "label": "Process",
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": f"label_values({INSTANCES}, instance)", "refId": "instances"},
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
            "sort": 1,
            "hide": 0,
        }
    address = "/public/docs/runbook.md"
    yield {
        "name": "runbook",
        "label": "Runbook",
        "description": "Where docs/runbook.md is shown. With the Compose file Grafana serves it itself.",
        "type": "textbox",
        "query": address,
        "current": {"text": address, "value": address},
        "hide": 0,
    }


def _pages() -> Json:
    """Alerts that wake somebody up, as bands across all panels."""
    return {
        "name": "Alerts that page",
        "enable": True,
        "datasource": SOURCE,
        "expr": PAGES,
        "titleFormat": "{{alertname}}",
        "textFormat": "{{service}} {{database}} {{task_queue}} {{operation}} {{group}} {{instance}}",
        "iconColor": "red",
        "step": "30s",
        "useValueForTime": False,
    }


def _others() -> Json:
    return {
        "title": "OrderFlow",
        "type": "dashboards",
        "tags": [TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def _placed(board: Board) -> Iterator[Json]:
    """Rows from the top, their panels from the left. Raises ValueError for a row that is not full."""
    number, y = 0, 0
    for row in board.rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        y += 1
        x = 0
        for panel in row.panels:
            number += 1
            yield _panel(panel) | {
                "id": number,
                "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
            }
            x += panel.width
            if x == COLUMNS:
                x, y = 0, y + panel.height
        if x:
            raise ValueError(f"the row {row.title!r} of {board.name} ends at column {x}, not {COLUMNS}")


def _panel(panel: Panel) -> Json:
    shown = _stat(panel) if panel.kind == "stat" else _timeseries(panel)
    return shown | {
        "title": panel.title,
        "description": _description(panel),
        "datasource": SOURCE,
        "links": _links(panel),
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
            for number, query in enumerate(panel.queries)
        ],
    }


def _timeseries(panel: Panel) -> Json:
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if panel.bad is not None else "off"},
    }
    return {
        "type": "timeseries",
        "fieldConfig": {
            "defaults": _defaults(panel) | {"color": {"mode": "palette-classic"}, "custom": custom},
            "overrides": [],
        },
        "options": {
            "legend": {
                "showLegend": True,
                "displayMode": "table",
                "placement": "bottom",
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _stat(panel: Panel) -> Json:
    return {
        "type": "stat",
        "fieldConfig": {"defaults": _defaults(panel) | {"color": {"mode": "thresholds"}}, "overrides": []},
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "auto",
        },
    }


def _defaults(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": _steps(panel)}}
    if panel.highest is not None:
        defaults["max"] = panel.highest
    if panel.none:
        defaults["noValue"] = panel.none
    if panel.words:
        options = {value: {"text": text, "index": number} for number, (value, text) in enumerate(panel.words.items())}
        defaults["mappings"] = [{"type": "value", "options": options}]
    return defaults


def _steps(panel: Panel) -> list[Json]:
    """Each colour, and from which value on."""
    marks = [mark for mark in (panel.warn, panel.bad) if mark is not None]
    colours = {0: ["green"], 1: ["green", "red"], 2: ["green", "yellow", "red"]}[len(marks)]
    if panel.falling:
        marks.reverse()
        colours.reverse()
    return [{"color": colour, "value": mark} for colour, mark in zip(colours, [None, *marks], strict=True)]


def _links(panel: Panel) -> list[Json]:
    if not panel.runbook:
        return []
    anchor = panel.runbook.lower().replace(" ", "-")
    return [{"title": f"Runbook: {panel.runbook}", "url": f"${{runbook}}#{anchor}", "targetBlank": True}]


def _description(panel: Panel) -> str:
    if not panel.runbook:
        return panel.question
    return f"{panel.question}\n\n**{panel.runbook}**\n\n{section(panel.runbook)}"


def section(heading: str) -> str:
    """What the runbook says under ``heading``; links to other pages become their words. Raises ValueError."""
    found = re.search(rf"^## {re.escape(heading)}\n\n(.+?)(?=\n## |\Z)", RUNBOOK.read_text("utf-8"), re.M | re.S)
    if found is None:
        raise ValueError(f"docs/runbook.md has no section {heading!r}")
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", found[1]).strip()
