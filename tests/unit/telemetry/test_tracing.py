"""What is traced, and at what cost where nothing is: without servers, in a process of its own where one is needed."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from orderflow.settings import Settings
from orderflow.telemetry import spans
from support.paths import ROOT

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def printed_by(code: str, within_seconds: float = 60) -> Any:
    """What a process of its own prints, as JSON: tracing begins once a process, and for good."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'events'}"}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=within_seconds
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_nothing_is_traced_unless_a_setting_says_so() -> None:
    assert Settings(_env_file=None).traces == "off"
    assert not spans.are_on()
    assert spans.open_span("x", SpanKind.CLIENT, PARENT, {}) is None
    assert spans.current_traceparent() is None
    with spans.span("x", SpanKind.CLIENT, {}) as nothing, spans.continuing(PARENT):
        assert nothing is None


def test_a_process_that_does_not_trace_does_not_load_the_sdk() -> None:
    code = """
import json, sys
from orderflow.settings import Settings
from orderflow import process
import api.app, workers.orders, workers.relay, workers.tracking
process.begin(Settings(_env_file=None), "test")
unwanted = ("opentelemetry.sdk", "opentelemetry.instrumentation")
print(json.dumps(sorted(module for module in sys.modules if module.startswith(unwanted))))
"""
    assert printed_by(code) == []


@pytest.mark.parametrize(
    "wrong", ["on", "files", "localhost:4318", "ftp://collector", "http://", "http://c:4318/v1/traces"]
)
def test_where_traces_go_is_checked(wrong: str) -> None:
    with pytest.raises(ValidationError, match="traces"):
        Settings(_env_file=None, traces=wrong)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_the_share_is_checked(wrong: float) -> None:
    with pytest.raises(ValidationError, match="traces_sample_ratio"):
        Settings(_env_file=None, traces_sample_ratio=wrong)


def test_a_share_of_the_requests_begins_traces_and_a_parent_decides_for_all_below(tmp_path: Path) -> None:
    """1,000 requests at 10 %: all of a request's spans, or none. What is no request begins nothing."""
    code = f"""
import glob, json
from pathlib import Path
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from orderflow.telemetry import spans
from orderflow.settings import Settings
from orderflow import process
settings = Settings(_env_file=None, traces="file", traces_sample_ratio=0.1, data_dir=Path({str(tmp_path)!r}))
process.begin(settings, "test")
tracer = trace.get_tracer("test")
for _ in range(1000):
    with tracer.start_as_current_span("request", kind=SpanKind.SERVER):
        assert spans.current_traceparent()
        with spans.span("statement", SpanKind.CLIENT, {{}}):
            pass
    with tracer.start_as_current_span("poll", kind=SpanKind.CLIENT):
        pass
trace.get_tracer_provider().force_flush()
names = []
for file in glob.glob({str(tmp_path)!r} + "/traces/*.jsonl"):
    for line in open(file):
        for resource in json.loads(line)["resourceSpans"]:
            names += [span["name"] for scope in resource["scopeSpans"] for span in scope["spans"]]
print(json.dumps([names.count(name) for name in ("request", "statement", "poll")]))
"""
    requests, statements, polls = printed_by(code)
    assert 50 < requests < 150
    assert statements == requests
    assert polls == 0


def test_a_collector_that_is_away_holds_up_no_stop() -> None:
    """The SDK alone would try for half a minute; the limit is far from both."""
    code = """
import asyncio, json, os
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from orderflow.settings import Settings
from orderflow import process
process.begin(Settings(_env_file=None, traces="http://127.0.0.1:9"), "test")
tracer = trace.get_tracer("test")
for _ in range(2000):
    with tracer.start_as_current_span("request", kind=SpanKind.SERVER):
        pass
asyncio.run(process.end())
print(json.dumps("stopped"))
"""
    assert printed_by(code, within_seconds=20) == "stopped"


def test_a_collector_gets_them_by_otlp_over_http() -> None:
    got: list[tuple[str, ExportTraceServiceRequest]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not on the test's output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        code = f"""
import asyncio, json, os
os.environ["ALL_PROXY"] = "socks5://127.0.0.1:9"  # not for this machine
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from orderflow.settings import Settings
from orderflow import process
process.begin(Settings(_env_file=None, traces="http://127.0.0.1:{collector.server_port}/"), "shop")
with trace.get_tracer("test").start_as_current_span("request", kind=SpanKind.SERVER):
    pass
asyncio.run(process.end())
print(json.dumps("stopped"))
"""
        assert printed_by(code) == "stopped"
        collector.shutdown()
    [(path, request)] = got
    assert path == "/v1/traces"
    [resource] = request.resource_spans
    assert {item.key: item.value.string_value for item in resource.resource.attributes}["service.name"] == "shop"
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == ["request"]
