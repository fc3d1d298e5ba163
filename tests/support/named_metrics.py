"""Which metrics the rules, the dashboards and the pages name, and whether a live scrape has them, labels included."""

from collections.abc import Iterable
from dataclasses import dataclass

import yaml

from orderflow.gateways.simulator.counting import METRICS as SIMULATOR_METRICS
from orderflow.telemetry.meters import DEFINITIONS
from support.paths import ROOT
from support.promql import named
from support.scrapes import scrape
from tools.generate.pages import SDK_METRICS
from tools.grafana.dashboards import BOARDS
from tools.grafana.panels import INSTANCES, PAGES

RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
#: What Prometheus adds to what it scrapes, and makes itself.
TARGET_LABELS = frozenset({"job", "instance", "process"})
OF_PROMETHEUS = {"up": TARGET_LABELS, "ALERTS": TARGET_LABELS | {"alertname", "alertstate", "severity"}}
RECORDED = {rule["record"]: frozenset[str]() for rule in RULES if "record" in rule}
#: What the SDK shows only after something went wrong: tests/e2e/outages/test_alerts_of_outages.py sees it.
SDK_AFTER_TROUBLE = {
    "temporal_long_request_failure_total": TARGET_LABELS | {"operation", "status_code", "task_queue"},
    "temporal_request_failure_total": TARGET_LABELS | {"operation", "status_code"},
    "temporal_sticky_cache_miss_total": TARGET_LABELS | {"task_queue"},
}
#: Expressions by where they stand.
EXPRESSIONS = {
    **{f"rule {rule.get('alert') or rule['record']}": [rule["expr"]] for rule in RULES},
    **{
        f"{board.name}: {panel.title}": [query.expr for query in panel.queries]
        for board in BOARDS
        for panel in board.panels
    },
    "the boards' bands and choices": [PAGES, INSTANCES],
    **{f"docs: {d.name}": [d.query] for d in DEFINITIONS},
    **{f"docs: {name}": [query] for _, name, query in SDK_METRICS},
}


@dataclass(frozen=True)
class Known:
    """The labels of each metric that there is."""

    labels: dict[str, frozenset[str]]

    def wrong(self, expression: str) -> list[str]:
        """What ``expression`` names that is not there."""
        found = named(expression)
        wrong = [name for name in sorted(found.metrics) if name not in self.labels]
        groups: set[str] = set()
        for name, selected in found.selected:
            labels = self.labels.get(name, frozenset())
            groups |= labels
            wrong += [f"{name}{{{label}}}" for label in sorted(selected - labels)] if labels else []
        return wrong + [f"by ({label})" for label in sorted(found.grouped - groups)]


async def known_metrics(ports: Iterable[int]) -> Known:
    """What the processes at ``ports`` show, with what Prometheus makes of it."""
    labels: dict[str, frozenset[str]] = {**OF_PROMETHEUS, **RECORDED, **SDK_AFTER_TROUBLE}
    # A family of ours without a series (nothing went wrong yet) is there by its type, and has the labels it is given.
    given = {d.name: d.labels for d in DEFINITIONS} | {name: labels for name, _, labels, _ in SIMULATOR_METRICS}
    for port in ports:
        found = await scrape(port)
        for family in found.types.keys() | {f"{family}_total" for family in found.types}:
            if family in given:
                labels[family] = TARGET_LABELS.union(given[family])
        for sample in found.samples:
            labels[sample.name] = TARGET_LABELS.union(labels.get(sample.name, ()), sample.labels)
    return Known(labels)
