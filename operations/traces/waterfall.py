"""A trace as a waterfall: who did what, under whom, when and how long. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from operations.traces.otlp import Span
from operations.words import clock, short

_BAR: Final = 32
_NAME: Final = 46
_MILLISECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class PlacedSpan:
    """A span in its place. ``depth`` 0: its parent is not here (the client's, or not exported yet)."""

    depth: int
    span: Span


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A trace's spans, each after its parent, siblings by time."""

    trace_id: str
    spans: tuple[PlacedSpan, ...]

    @property
    def started_ns(self) -> int:
        """When its first span began."""
        return min(placed.span.started_ns for placed in self.spans)

    @property
    def ended_ns(self) -> int:
        """When its last span ended."""
        return max(placed.span.ended_ns for placed in self.spans)

    @property
    def processes(self) -> tuple[str, ...]:
        """Who took part, in order of appearance."""
        return tuple(dict.fromkeys(placed.span.process for placed in self.spans))


def traces(spans: Sequence[Span]) -> list[Waterfall]:
    """The traces of ``spans``, the earliest first."""
    by_trace: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        by_trace[span.trace_id].append(span)
    found = [Waterfall(trace_id, tuple(_in_place(members))) for trace_id, members in by_trace.items()]
    return sorted(found, key=lambda trace: trace.started_ns)


def _in_place(spans: Sequence[Span]) -> Iterator[PlacedSpan]:
    here = {span.span_id for span in spans}
    children: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.started_ns):
        children[span.parent_id if span.parent_id in here - {span.span_id} else ""].append(span)

    def under(parent: str, depth: int) -> Iterator[PlacedSpan]:
        for span in children[parent]:
            yield PlacedSpan(depth, span)
            yield from under(span.span_id, depth + 1)

    return under("", 0)


def page(found: Sequence[Waterfall]) -> str:
    """All of ``found``, for a terminal."""
    return "\n\n".join("\n".join(_drawn(trace)) for trace in found)


def _drawn(trace: Waterfall) -> Iterator[str]:
    start, whole = trace.started_ns, max(trace.ended_ns - trace.started_ns, 1)
    yield f"trace {trace.trace_id}  {clock(_moment(start))}  {_milliseconds(whole)}  {len(trace.spans)} spans"
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
    return indent + short(placed.span.name, max(_NAME - len(indent), 8))


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
