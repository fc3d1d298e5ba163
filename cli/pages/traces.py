"""How an order's traces look: waterfalls on a terminal, and JSON. Nothing here asks anybody anything."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from operations.traces.otlp import Span
from operations.traces.waterfall import PlacedSpan, Waterfall
from operations.words import clock, counted, short
from orderflow.telemetry import messaging

_BAR: Final = 32
_NAME: Final = 46
_MILLISECOND: Final = 1_000_000


def page(found: Sequence[Waterfall]) -> str:
    """All of ``found``, for a terminal."""
    return "\n\n".join("\n".join(_drawn(trace)) for trace in found)


def _drawn(trace: Waterfall) -> Iterator[str]:
    start, whole = trace.started_ns, max(trace.ended_ns - trace.started_ns, 1)
    spans = counted(len(trace.spans), "span")
    yield f"trace {trace.trace_id}  {clock(_moment(start))}  {_milliseconds(whole)}  {spans}"
    wide = max(len(process) for process in trace.processes)
    for placed in trace.spans:
        span = placed.span
        bar = _bar(span.started_ns - start, span.ended_ns - start, whole)
        took = _milliseconds(span.ended_ns - span.started_ns)
        since = _milliseconds(span.started_ns - start)
        failed = f"  ! {short(span.error)}" if span.error else ""
        yield f"  {span.process:<{wide}}  {_indented(placed):<{_NAME}} {since:>10} {bar} {took}{failed}"


def _indented(placed: PlacedSpan) -> str:
    indent = "  " * placed.depth
    return indent + short(_name(placed.span), max(_NAME - len(indent), 8))


def _name(span: Span) -> str:
    """Of a record: what is done with which event (``send ORDER_CREATED``), as the topic is always the same."""
    event_type = span.attributes.get(messaging.EVENT_TYPE)
    return f"{span.attributes.get(messaging.OPERATION_NAME)} {event_type}" if event_type else span.name


def _bar(start: int, end: int, whole: int) -> str:
    left = min(start * _BAR // whole, _BAR - 1)
    right = max(min(-(-end * _BAR // whole), _BAR), left + 1)
    return f"│{' ' * left}{'─' * (right - left)}{' ' * (_BAR - right)}│"


def document(found: Sequence[Waterfall]) -> list[dict[str, Any]]:
    """The same for programs. Durations in milliseconds."""
    return [
        {
            "trace_id": trace.trace_id,
            "started_at": _moment(trace.started_ns).isoformat(),
            "milliseconds": _rounded(trace.ended_ns - trace.started_ns),
            "processes": list(trace.processes),
            "spans": [_span_document(placed) for placed in trace.spans],
        }
        for trace in found
    ]


def _span_document(placed: PlacedSpan) -> dict[str, Any]:
    span = placed.span
    return {
        "span_id": span.span_id,
        "parent_id": span.parent_id or None,
        "links": list(span.linked),
        "process": span.process,
        "name": span.name,
        "started_at": _moment(span.started_ns).isoformat(),
        "milliseconds": _rounded(span.ended_ns - span.started_ns),
        "error": span.error,
        "attributes": dict(span.attributes),
    }


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=nanoseconds // 1000)


def _rounded(nanoseconds: int) -> float:
    return round(nanoseconds / _MILLISECOND, 3)


def _milliseconds(nanoseconds: int) -> str:
    milliseconds = nanoseconds / _MILLISECOND
    return f"{milliseconds:.1f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:.1f} s"
