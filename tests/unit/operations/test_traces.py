"""Traces from files: what is read, and how it is drawn."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.pages.traces import page
from operations.traces.otlp import OtlpError, spans_of_order
from operations.traces.waterfall import traces

ORDER = UUID("54afbc77-eb2a-5f2a-9dda-ea1d68dae6d5")
OTHER = "11111111-1111-4111-8111-111111111111"
TRACE = "49ee792249d2013007a1b1d7c2d0aa34"
#: 2026-11-24 01:02:11 UTC.
START = 1_795_482_131_000_000_000

DRAWN = """\
trace 49ee792249d2013007a1b1d7c2d0aa34  2026-11-24 01:02:11Z  100.0 ms  5 spans
  api      POST /orders/{order_id}/approve                    0.0 ms │────────────────────────────────│ 100.0 ms
  api        SignalWorkflow:approve                          10.0 ms │   ──────────                   │ 30.0 ms
  workers    StartActivity                                   50.0 ms │                ─               │ 0.0 ms
  workers      RunActivity:authorize                         50.0 ms │                ──────────      │ 30.0 ms  ! aw ay
  workers  RunActivity:later                                 90.0 ms │                            ────│ 10.0 ms"""


def span(span_id: str, name: str, start_ms: float, end_ms: float, parent: str = "", **more: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "spanId": span_id,
        "parentSpanId": parent,
        "name": name,
        "startTimeUnixNano": str(START + int(start_ms * 1e6)),
        "endTimeUnixNano": str(START + int(end_ms * 1e6)),
        "attributes": [],
    } | more


def of_order(order_id: UUID | str) -> dict[str, Any]:
    return {"attributes": [{"key": "temporalWorkflowID", "value": {"stringValue": f"order-{order_id}"}}]}


def exported(process: str, *spans: dict[str, Any]) -> str:
    name = {"key": "service.name", "value": {"stringValue": process}}
    return json.dumps({"resourceSpans": [{"resource": {"attributes": [name]}, "scopeSpans": [{"spans": list(spans)}]}]})


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    api, workers = tmp_path / "api.jsonl", tmp_path / "workers.jsonl"
    api.write_text(
        exported("api", span("a1", "SignalWorkflow:approve", 10, 40, "a0", **of_order(ORDER)))
        + "\n"
        + exported("api", span("a0", "POST /orders/{order_id}/approve", 0, 100))
        + "\n"
        + exported("api", span("b0", "POST /orders", 0, 9, traceId="f" * 32, **of_order(OTHER)))
        + "\n"
    )
    failed = span("w2", "RunActivity:authorize", 50, 80, "w1", status={"code": 2, "message": "aw\nay."})
    orphan = span("w3", "RunActivity:later", 90, 100, "gone")
    workers.write_text(exported("workers", span("w1", "StartActivity", 50, 50, "a0"), failed, orphan) + "\n")
    return [api, workers]


def test_an_orders_traces_are_found_and_no_others(files: list[Path]) -> None:
    assert [found.span_id for found in spans_of_order(files, ORDER)] == ["a0", "a1", "w1", "w2", "w3"]


def test_a_line_that_is_being_written_is_left_for_later(files: list[Path]) -> None:
    with files[0].open("a") as file:
        file.write(f'{{"resourceSpans": "order-{ORDER}')
    assert len(spans_of_order(files, ORDER)) == 5


def test_what_is_not_otlp_is_named(files: list[Path]) -> None:
    with files[0].open("a") as file:
        file.write(f'{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{{"name": "order-{ORDER}"}}]}}]}}]}}\n')
    with pytest.raises(OtlpError, match=r"api\.jsonl, line 4: not OTLP as JSON \(KeyError\('traceId'\)\)"):
        spans_of_order(files, ORDER)


def test_a_waterfall(files: list[Path]) -> None:
    """A span whose parent is not there stands at the left."""
    drawn = page(traces(spans_of_order(files, ORDER)))
    assert "\n".join(line.rstrip() for line in drawn.splitlines()) == DRAWN


def test_why_there_is_no_trace(tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERFLOW_DATA_DIR", str(tmp_path))
    unknown = "00000000-0000-4000-8000-000000000000"

    def said(*arguments: str) -> str:
        ended = CliRunner().invoke(app, ["order", "trace", unknown, *arguments])
        assert ended.exit_code == 4
        return " ".join(ended.stderr.split())

    assert "nothing traces. Start with ORDERFLOW_TRACES=file" in said()
    assert "the files know none" in said("--file", str(files[0]))
    monkeypatch.setenv("ORDERFLOW_TRACES", "http://localhost:4318")
    assert "traces go to http://localhost:4318" in said()
    monkeypatch.setenv("ORDERFLOW_TRACES", "file")
    assert "not sampled" in said()
