"""A trace as a waterfall: who did what, under whom, when and how long. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from operations.traces.otlp import Span


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
