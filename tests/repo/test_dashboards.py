"""The Grafana dashboards: complete, and understood by Prometheus."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.paths import ROOT
from support.promql import named
from tools.grafana.dashboards import BOARDS
from tools.grafana.panels import INSTANCES, PAGES, Board, Panel, dashboard, section

FOLDER = ROOT / "deploy" / "grafana"
PANELS = [(board, panel) for board in BOARDS for panel in board.panels]
ALERTS = [
    rule["annotations"]["runbook_url"].partition("#")[2]
    for group in yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]


def test_a_dashboard_is_laid_out_without_gaps_or_overlaps() -> None:
    for board in BOARDS:
        made: dict[str, Any] = dashboard(board)
        taken: set[tuple[int, int]] = set()
        for panel in made["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, f"{board.name}: {panel['title']}"
            taken |= cells
        assert {x for x, _ in taken} == set(range(24)), board.name
        for each in ("id", "title"):
            values = [panel[each] for panel in made["panels"]]
            assert len(set(values)) == len(values), f"{board.name}: {each}"


def test_a_panel_says_what_it_answers_and_names_its_series() -> None:
    for board, panel in PANELS:
        about = f"{board.name}: {panel.title}"
        assert panel.question[0].isupper(), about
        assert "?" in panel.question, about
        for query in panel.queries:
            labels = set(re.findall(r"{{(\w+)}}", query.legend))
            left = named(query.expr).grouped | {"process", "instance"}
            assert query.legend, about
            assert labels <= left, f"{about}: a legend can only name what is left in the result"
            assert ("$instance" in query.expr) <= board.by_instance, about
        if panel.runbook:
            assert section(panel.runbook) in dashboard_panel(board, panel)["description"], about


def dashboard_panel(board: Board, panel: Panel) -> dict[str, Any]:
    """Its JSON."""
    [found] = [made for made in dashboard(board)["panels"] if made["title"] == panel.title]
    made: dict[str, Any] = found
    return made


def test_every_alert_has_a_panel_that_shows_it() -> None:
    shown = {panel.runbook.lower().replace(" ", "-") for _, panel in PANELS}
    # A tracking that is missing shows as lag that is not known; undoing that comes too late is a step.
    assert set(ALERTS) - shown == {"tracking-missing", "too-late-to-undo"}


def test_a_section_that_the_runbook_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="no section"):
        section("Nothing like it")


def test_grafana_is_given_what_there_is() -> None:
    source = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    scraping = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["global"]
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == scraping["scrape_interval"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert source["url"] == "http://prometheus:9090"
    mounts = dict(mount.split(":")[:2] for mount in compose["grafana"]["volumes"])
    provider = yaml.safe_load((FOLDER / "provisioning/dashboards/orderflow.yml").read_text())["providers"][0]
    given = {Path(path).name for path, inside in mounts.items() if inside.startswith(provider["options"]["path"])}
    assert given == {f"{board.name}.json" for board in BOARDS}
    home = compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in mounts.values()
    [variable] = {
        made["query"]
        for board in BOARDS
        for made in dashboard(board)["templating"]["list"]
        if made["name"] == "runbook"
    }
    assert f"/usr/share/grafana{variable}" in mounts.values()


def test_prometheus_understands_every_query(promtool: str, tmp_path: Path) -> None:
    queries = [query.expr for _, panel in PANELS for query in panel.queries] + [PAGES, INSTANCES]
    rules = [
        {"record": f"query:number{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    said = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
