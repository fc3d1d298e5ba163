"""The alert rules: they name metrics that exist, each has a case and a section in the runbook, and promtool agrees."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from orderflow.telemetry.meters import DEFINITIONS, WHOLE
from orderflow.telemetry.metrics import HTTP_REQUESTS
from support.paths import ROOT
from support.promql import named
from tools.generate.pages import SDK_METRICS

FOLDER = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
CASES = yaml.safe_load((FOLDER / "rules.test.yml").read_text())["tests"]
BY_NAME = {definition.name: definition for definition in DEFINITIONS}
#: Labels that Prometheus adds to what it scrapes.
TARGET_LABELS = {"job", "instance", "process", "le"}
#: What is not ours, with its labels: Prometheus' own, and the Temporal SDK's.
OTHERS = {
    "up": set(),
    "temporal_num_pollers": {"task_queue"},
    "temporal_long_request_failure_total": {"status_code"},
    "temporal_long_request_total": set(),
}


def test_a_rule_names_metrics_and_labels_that_exist() -> None:
    """Ours by their definitions; all of them in a scrape: ``tests/e2e/telemetry/test_scrape.py``."""
    recorded = {other.get("record") for other in RULES}
    for rule in RULES:
        about = rule.get("alert") or rule["record"]
        found = named(rule["expr"])
        known = set(TARGET_LABELS)
        for name, labels in found.selected:
            if name in recorded or name in OTHERS:
                known |= labels | OTHERS.get(name, set())
                continue
            family = name if name in BY_NAME else re.sub(r"_(bucket|sum|count)$", "", name)
            assert family in BY_NAME, f"{about}: {name} is not measured"
            assert labels <= {*BY_NAME[family].labels, *TARGET_LABELS}, f"{about}: {name}"
            known |= set(BY_NAME[family].labels)
        assert found.metrics, about
        assert found.grouped <= known, about


def test_an_alert_has_a_section_in_the_runbook() -> None:
    for alert in ALERTS:
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in [heading.lower().replace(" ", "-") for heading in headings], alert["alert"]
        assert alert["labels"]["severity"] in ("page", "ticket"), alert["alert"]
        assert alert["annotations"]["summary"], alert["alert"]


def test_the_page_lists_every_alert_and_no_other() -> None:
    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(OrderFlow\w+)`", page)) == {alert["alert"] for alert in ALERTS}


def test_an_alert_has_a_case_where_it_fires_and_one_where_it_is_silent() -> None:
    cases = {(case["alertname"], bool(case.get("exp_alerts"))) for test in CASES for case in test["alert_rule_test"]}
    assert {(alert["alert"], fires) for alert in ALERTS for fires in (True, False)} - cases == set()


def test_the_objectives_look_at_a_bucket_that_there_is() -> None:
    limits = {limit for rule in RULES for limit in re.findall(r'le="([\d.]+)"', rule["expr"])}
    assert limits <= {str(limit) for limit in WHOLE}
    assert "status" in HTTP_REQUESTS.definition.labels


def test_promtool_finds_the_rules_sound_and_every_alert_fires_when_it_should(promtool: str) -> None:
    for command in (["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]):
        said = subprocess.run([promtool, *command], cwd=FOLDER, capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr


def test_prometheus_understands_every_query_of_the_docs(promtool: str, tmp_path: Path) -> None:
    queries = [definition.query for definition in DEFINITIONS] + [query for _, _, query in SDK_METRICS]
    rules = [{"record": f"query:number{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    said = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
