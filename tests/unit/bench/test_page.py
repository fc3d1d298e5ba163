"""Tables, plots and the page are made from the JSON of a run alone."""

import shutil
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import page, plots
from bench.growth_results import Backlog, PartResults, Point, part_plots, part_sheet
from bench.histories import HistoryShape
from bench.measure import SideName, Spread
from bench.report import cpu_an_order, over, sheets
from bench.results import PhaseFigures, PlanFigures, Results
from support.paths import ROOT


def svg(text: str) -> ElementTree.Element:
    """Raises ParseError for what is none."""
    root = ElementTree.fromstring(text)  # noqa: S314 - made by us
    assert root.tag.endswith("svg")
    return root


def figures(seconds: float, cpu: dict[str, float]) -> PhaseFigures:
    return PhaseFigures(orders=10, seconds=seconds, p50={"lifecycle": 40.0}, p95={"lifecycle": 90.0}, cpu=cpu)


def results() -> Results:
    ours = [figures(1.0, {"api": 10, "client": 1}), figures(0.5, {"api": 20, "client": 1})]
    naive = [figures(2.0, {"temporal": 20, "client": 5}), figures(2.0, {"temporal": 20, "client": 5})]
    phases: dict[SideName, list[PhaseFigures]] = {"ours": ours, "naive": naive}
    shape = HistoryShape(events=25, workflow_tasks=3, activities=0, local_activities=9, actions=9, kilobytes=7.1)
    return Results(
        gear="embedded",
        began_at=datetime(2026, 1, 2, tzinfo=UTC),
        machine={"System": "a & b"},
        plan=PlanFigures(orders=10, alone=2, rounds=2, at_once=5),
        notes=["DBOS could not be installed: no network"],
        phases={"one at a time": phases, "at once": phases},
        histories={"ours": shape, "naive": shape},
        idle_cpu={"api": 4.0, "relay": 10.0, "kafka": 2.0},
        arrivals_p50=30.0,
        arrivals_p95=60.0,
        arrivals=20,
        statements={"orders.place": 1.0, "outbox.hold": 0.1, "outbox.pending": 0.15},
    )


def test_ours_is_compared_with_the_other_side_of_the_same_round() -> None:
    """The machine was twice as fast for ours in the second round."""
    [at_once, *_] = sheets(results())

    assert at_once.columns == ["", "ours", "naive", "ours / naive"]
    assert at_once.rows[0] == ["orders/s", "15.0 (10.0-20.0)", "5.0 (5.0-5.0)", "3.00 (2.00-4.00)"]
    found = over(results(), "at once", "naive", cpu_an_order)
    assert found is not None
    assert found.rounds == [0.5, 1.0]


def test_what_takes_little_is_put_together() -> None:
    statements = sheets(results())[-1]

    assert statements.rows == [["orders.place", "1.00"], ["others", "0.25"]]


def test_idle_cost_is_that_of_our_own_processes() -> None:
    [ours] = [sheet for sheet in sheets(results()) if sheet.title == "Ours alone"]

    assert ["CPU of an idle stack, our processes, ms a second", "14.0"] in ours.rows
    assert ["… beside them: kafka", "2.0"] in ours.rows


def test_every_plot_is_an_svg_that_says_what_it_shows() -> None:
    drawn = page.run_plots(results())

    assert set(drawn) == {f"embedded-{name}.svg" for name in ("throughput", "cpu", "processes", "latency")}
    for text in drawn.values():
        svg(text)
        assert "ours" in text


def test_a_bar_is_as_long_as_its_value() -> None:
    root = svg(plots.bars("a < b", {"x": {"one": Spread([10.0]), "two": Spread([5.0])}}))
    bars = [float(each.get("width", "0")) for each in root.iter() if each.get("height") == "14.0"]

    assert bars[0] == pytest.approx(2 * bars[1])
    assert "a < b" in [each.text for each in root.iter()]


def test_a_kept_run_gets_onto_the_page_and_everything_else_there_stays(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / page.PAGE, tmp_path / page.PAGE)
    before = (tmp_path / page.PAGE).read_text()

    page.keep("embedded", results(), tmp_path)
    page.keep("embedded", results(), tmp_path)

    text = (tmp_path / page.PAGE).read_text()
    assert text.count("### 5 at once: 2 rounds of 10 orders of each side") == 1
    assert "DBOS could not be installed" in text
    assert "![embedded-cpu](benchmarks/embedded-cpu.svg)" in text
    assert (tmp_path / page.FOLDER / "embedded-cpu.svg").exists()
    marks = [line for line in before.splitlines() if line.startswith(("# ", "## ", "<!--"))]
    assert [line for line in text.splitlines() if line.startswith(("# ", "## ", "<!--"))] == marks


def test_the_parts_of_the_growth_bench_have_a_table_and_plots() -> None:
    def part(**found: object) -> PartResults:
        return PartResults.model_validate(
            {"gear": "embedded", "began_at": datetime.now(UTC), "machine": {}, "about": "Real baskets.", **found}
        )

    points = [Point(label=label, phases=[figures(1.0, {"api": 10, "client": 1})]) for label in ("1", "300")]
    clients = part(part="clients", points=points)
    memory = [90.0, 95.0, 96.0]
    backlog = part(part="backlog", backlog=Backlog(events=200_000, relay_rate=10_000, raw_rate=40_000, memory=memory))

    assert part_sheet(clients).rows[1][:3] == ["300", "10.0", "10.0"]
    assert ["relay / raw", "0.25"] in part_sheet(backlog).rows
    assert part_sheet(backlog).rows[-1][1] == "90, 96, 96"
    for text in (*part_plots(clients).values(), *part_plots(backlog).values()):
        svg(text)
