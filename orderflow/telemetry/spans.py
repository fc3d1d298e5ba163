"""Spans of our own, where no instrumentation package calls things as an operator would: statements, records, events.

A thin layer over the OpenTelemetry API. It is silent until ``orderflow.tracing`` begins: a process that does not trace
pays one look at a variable. A span of ours is part of a trace that a request began, and never begins one: what the
relay and the gauges ask all day long makes no noise.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, TypeAlias

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Attributes: TypeAlias = dict[str, str | int]

_HEADER: Final = "traceparent"
_W3C: Final = TraceContextTextMapPropagator()
_NO_SPAN: Final[AbstractContextManager[None]] = nullcontext()


class _Tracing:
    tracer: Tracer | None = None


def begin(tracer: Tracer) -> None:
    """Make spans from now on."""
    _Tracing.tracer = tracer


def are_on() -> bool:
    """Whether this process traces."""
    return _Tracing.tracer is not None


def note(**attributes: str) -> None:
    """Say more about the current span."""
    if _Tracing.tracer is not None:
        get_current_span().set_attributes(attributes)


def current_traceparent() -> str | None:
    """The current span, recorded or not, as W3C ``traceparent``; None where there is none."""
    if _Tracing.tracer is None:
        return None
    span = get_current_span().get_span_context()
    return _traceparent(span) if span.is_valid else None


def trace_id(traceparent: str | None) -> str | None:
    """The 32 hexadecimal digits that a well-formed ``traceparent`` names its trace with."""
    return traceparent[3:35] if traceparent else None


def span(name: str, kind: SpanKind, attributes: Attributes) -> AbstractContextManager[object]:
    """A span around a block, under the current one; nothing where there is none, or where it is not recorded."""
    tracer = _Tracing.tracer
    if tracer is None or not get_current_span().is_recording():
        return _NO_SPAN
    return tracer.start_as_current_span(name, kind=kind, attributes=attributes)


@contextmanager
def continuing(traceparent: str | None) -> Iterator[None]:
    """Inside, spans are children of the one that ``traceparent`` names; without one, of the current one."""
    parent = _extracted(traceparent)
    if parent is None:
        yield
        return
    token = contexts.attach(parent)
    try:
        yield
    finally:
        contexts.detach(token)


class OpenSpan:
    """A span that is ended by hand, in whatever task. ``traceparent`` names it."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: Span) -> None:
        self._span = span
        self.traceparent = _traceparent(span.get_span_context())

    def end(self, attributes: Attributes | None = None, *, error: str | None = None) -> None:
        """``attributes``: what is known now. ``error``: what went wrong."""
        self._span.set_attributes(attributes or {})
        if error is not None:
            self._span.set_status(StatusCode.ERROR, error)
        self._span.end()


def open_span(
    name: str, kind: SpanKind, parent: str | None, attributes: Attributes, links: Sequence[str | None] = ()
) -> OpenSpan | None:
    """A span under ``parent``, with ``links``: each a ``traceparent``. None: the parent is not recorded."""
    tracer, under = _Tracing.tracer, _extracted(parent)
    if tracer is None or under is None or not _span_of(under).trace_flags.sampled:
        return None
    linked = [Link(_span_of(context)) for link in links if (context := _extracted(link)) is not None]
    return OpenSpan(tracer.start_span(name, context=under, kind=kind, attributes=attributes, links=linked))


def _extracted(traceparent: str | None) -> Context | None:
    if traceparent is None or _Tracing.tracer is None:
        return None
    context = _W3C.extract({_HEADER: traceparent}, Context())
    return context if _span_of(context).is_valid else None


def _span_of(context: Context) -> SpanContext:
    return get_current_span(context).get_span_context()


def _traceparent(span: SpanContext) -> str:
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
