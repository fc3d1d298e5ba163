"""Traces with OpenTelemetry: what begins them, where they go, and the official instrumentation of what we use.

``orderflow.process`` imports this module where traces are asked for, and nowhere else.

A trace is a request's: from the HTTP call through the start or the signal, the steps it leads to, with their statements
and gateway calls, to the records in Kafka and what the tracking makes of them. What follows from a command belongs to
the command's trace, however long the order waited before it.
"""

import ipaddress
import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import requests
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.json.file.trace_exporter import FileSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor, RequestInfo
from opentelemetry.sdk.environment_variables import OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes
from temporalio import client, worker, workflow
from temporalio.contrib.opentelemetry import (
    OpenTelemetryInterceptor,
    ReplaySafeTracerProvider,
    create_tracer_provider,
)

from orderflow.telemetry import spans
from orderflow.telemetry.origin import origin_of

FOLDER = "traces"
#: A file is read by people who have just sent a request; a collector sets its own (OTEL_BSP_SCHEDULE_DELAY).
_FILE_DELAY_MILLISECONDS = 200
_LAST_EXPORT_SECONDS = 2.0
#: Asked by machines all day long.
_UNTRACED_URLS = r"^https?://[^/]+/(health|metrics)(/|$)"
_WITH_QUERY = ("http.url", "http.target", "url.full")
#: What names people, by the old conventions and the new ones.
_PERSONAL = ("url.query", "net.peer.ip", "client.address", "network.peer.address")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def begin(destination: str, service: str, *, sample_ratio: float, data_dir: Path) -> None:
    """Trace from now on. ``service``: what this process is called unless ``OTEL_SERVICE_NAME`` says otherwise.

    ``destination``: ``file`` (OTLP as JSON lines below ``data_dir``), or the URL of an OTLP/HTTP collector.

    Raises OSError when its file cannot be written.
    """
    service = os.environ.get(OTEL_SERVICE_NAME) or service
    instance = uuid4().hex[:12]
    provider = create_tracer_provider(
        sampler=ParentBased(root=_Requests(sample_ratio)),
        resource=Resource.create(
            {"service.namespace": "orderflow", "service.name": service, "service.instance.id": instance}
        ),
        shutdown_on_exit=False,  # it would wait for a collector that is away: see end()
    )
    provider.add_span_processor(_processor(destination, data_dir, service, instance))
    # Temporal's interceptor knows no other place to find it.
    trace.set_tracer_provider(provider)
    HTTPXClientInstrumentor().instrument(tracer_provider=provider, async_request_hook=_name_call)
    spans.begin(provider.get_tracer("orderflow"))


def end() -> None:
    """Export what is left, within two seconds: a collector that is away holds up no stop."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, ReplaySafeTracerProvider):
        exporting = threading.Thread(target=provider.shutdown, daemon=True)
        exporting.start()
        exporting.join(_LAST_EXPORT_SECONDS)


def instrument_api(app: FastAPI) -> None:
    """A span for each request, named after its route."""
    FastAPIInstrumentor.instrument_app(
        app, server_request_hook=_forget_query, excluded_urls=_UNTRACED_URLS, exclude_spans=["receive", "send"]
    )


def temporal_interceptors() -> list[client.Interceptor]:
    """For a client, and for the workers that are made with it: the later is the nearer to the workflow's code."""
    return [_StepsInterceptor(add_temporal_spans=True), _CommandInterceptor()]


def _forget_query(span: trace.Span, _: Mapping[str, Any]) -> None:
    """Who asks from where, and for what (a customer's id, for instance), is nobody's business here."""
    said: Mapping[str, Any] = getattr(span, "attributes", None) or {}
    span.set_attributes({name: str(said[name]).partition("?")[0] for name in _WITH_QUERY if name in said})
    span.set_attributes({name: "" for name in _PERSONAL if name in said})


async def _name_call(span: trace.Span, request: RequestInfo) -> None:
    """``POST /v1/payments/{id}/capture`` instead of ``POST``."""
    url = httpx.URL(str(request.url))
    span.update_name(f"{request.method.decode()} {_UUID.sub('{id}', url.path)}")


def _processor(destination: str, data_dir: Path, service: str, instance: str) -> BatchSpanProcessor:
    if destination == "file":
        folder = data_dir / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        return BatchSpanProcessor(
            FileSpanExporter(_file(folder, service, instance)), schedule_delay_millis=_FILE_DELAY_MILLISECONDS
        )
    session = requests.Session()
    # No proxy of the environment reaches this machine; one that requests cannot use would fail every export.
    session.trust_env = not _is_loopback(httpx.URL(destination).host)
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{destination.rstrip('/')}/v1/traces", session=session))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _file(folder: Path, service: str, instance: str) -> Path:
    # One a process: lines of several would get mixed up.
    path = folder / f"{service.replace('/', '-')}-{instance}.jsonl"
    path.touch(mode=0o600)
    return path


class _Requests(Sampler):
    """Which traces begin: a share of the HTTP requests. Nothing else begins one, not even a query of the Web UI."""

    def __init__(self, ratio: float) -> None:
        self._ratio = TraceIdRatioBased(ratio)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        # What Temporal hands out is of kind SERVER too.
        is_request = kind is SpanKind.SERVER and "temporalWorkflowID" not in (attributes or {})
        sampler = self._ratio if is_request else ALWAYS_OFF
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"Requests({self._ratio.get_description()})"


class _StepsInterceptor(OpenTelemetryInterceptor):
    """Temporal's, without the span that lasts as long as a workflow.

    What is cached when a worker stops is left to the garbage collector, which would end such a span wherever it runs:
    an error in the log for each running order, and spans of orders that go on elsewhere.
    """

    def workflow_interceptor_class(self, input: worker.WorkflowInterceptorClassInput) -> Any:
        class Inbound(super().workflow_interceptor_class(input)):  # type: ignore[misc]
            async def execute_workflow(self, input: worker.ExecuteWorkflowInput) -> Any:
                return await self.next.execute_workflow(input)

        return Inbound


class _CommandInterceptor(client.Interceptor, worker.Interceptor):
    """What the workflow starts belongs to the trace of the command that it starts it for, as the request says."""

    def workflow_interceptor_class(
        self, input: worker.WorkflowInterceptorClassInput
    ) -> type[worker.WorkflowInboundInterceptor] | None:
        return _Inbound


class _Inbound(worker.WorkflowInboundInterceptor):
    def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: worker.StartActivityInput) -> workflow.ActivityHandle[Any]:
        with spans.continuing(origin_of(input.args).traceparent):
            return super().start_activity(input)

    def start_local_activity(self, input: worker.StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        with spans.continuing(origin_of(input.args).traceparent):
            return super().start_local_activity(input)
