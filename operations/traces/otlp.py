"""Spans from OTLP as JSON lines: what ``ORDERFLOW_TRACES=file`` writes, and OpenTelemetry's collector with its file
exporter.

Source: the OpenTelemetry Protocol File Exporter specification; ids are hexadecimal there, times nanoseconds as text.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from orderflow.telemetry import messaging
from orderflow.temporal.names import workflow_id

#: What Temporal's interceptor calls it.
WORKFLOW_ID: Final = "temporalWorkflowID"
#: What relay and tracking call the order of a record. A DRAFT is known by its events only.
RECORD_KEY: Final = messaging.MESSAGE_KEY
#: Of a line, which is one export of a process.
MOST_A_LINE: Final = 64 * 1024 * 1024
_ERROR: Final = (2, "STATUS_CODE_ERROR")


class OtlpError(ValueError):
    """A file that is not what it should be; says which line."""


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Times in nanoseconds since 1970; ``error`` is None where all went well."""

    trace_id: str
    span_id: str
    parent_id: str
    process: str
    name: str
    started_ns: int
    ended_ns: int
    attributes: Mapping[str, Any]
    error: str | None
    linked: tuple[str, ...]


def spans_of_order(files: Iterable[Path], order_id: UUID) -> list[Span]:
    """All spans of the traces in which something was done for the order, the earliest first.

    A trace that only read the order has none. Raises OtlpError and OSError.
    """
    files = list(files)
    wanted = {WORKFLOW_ID: workflow_id(order_id), RECORD_KEY: str(order_id)}
    traces = {
        span.trace_id
        for span in _spans(files, lambda line: str(order_id) in line)
        if any(span.attributes.get(name) == value for name, value in wanted.items())
    }
    if not traces:
        return []
    # Most lines are about other orders: those are not even decoded.
    found = _spans(files, lambda line: any(trace in line for trace in traces))
    return sorted((span for span in found if span.trace_id in traces), key=lambda span: span.started_ns)


def _spans(files: Iterable[Path], is_of_interest: Callable[[str], bool]) -> Iterator[Span]:
    for file in files:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(MOST_A_LINE), ""), start=1):
                if len(line) == MOST_A_LINE:
                    raise OtlpError(f"{file.name}, line {number}: longer than {MOST_A_LINE} characters")
                if not line.endswith("\n"):
                    break  # being written
                if is_of_interest(line):
                    try:
                        yield from _decoded(json.loads(line))
                    except (AttributeError, KeyError, TypeError, ValueError) as error:
                        raise OtlpError(f"{file.name}, line {number}: not OTLP as JSON ({error!r})") from error


def _decoded(exported: Mapping[str, Any]) -> Iterator[Span]:
    for resource in exported.get("resourceSpans", ()):
        process = _attributes(resource.get("resource", {})).get("service.name", "?")
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                status = span.get("status", {})
                yield Span(
                    trace_id=span["traceId"],
                    span_id=span["spanId"],
                    parent_id=span.get("parentSpanId", ""),
                    process=str(process),
                    name=span["name"],
                    started_ns=int(span["startTimeUnixNano"]),
                    ended_ns=int(span["endTimeUnixNano"]),
                    attributes=_attributes(span),
                    error=(status.get("message") or "error") if status.get("code") in _ERROR else None,
                    linked=tuple(link["spanId"] for link in span.get("links", ())),
                )


def _attributes(of: Mapping[str, Any]) -> dict[str, Any]:
    # Each value is an object with one field, named after its type.
    return {item["key"]: next(iter(item["value"].values()), None) for item in of.get("attributes", ())}
