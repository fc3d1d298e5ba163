"""Logs and traces: what an entry point sets up, and what is said of the request or step at hand.

Logs: one line an event, as JSON or for a terminal. Call ``configure_logging`` once, in an entry point; everywhere else:
``structlog.get_logger()``. Lines of libraries (uvicorn, temporalio, aiokafka) come out in the same form, and what is
said while a request is served or a step is taken names its order, workflow, correlation id and trace. Tracebacks never
show local variables: a payment token could be among them.
"""

import asyncio
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from temporalio import activity, workflow

from orderflow import spans
from orderflow.settings import Settings

#: What Temporal's own loggers say about where they speak from, and what we call it.
_TEMPORAL: Final = {"workflow_id": "workflow_id", "run_id": "run_id", "workflow_run_id": "run_id"}
_ORDER: Final = "order-"
#: Libraries whose debug lines hold whole records, requests or statements, and with them who bought what. httpx has a
#: line for each call, too, which the metrics and traces of the gateway say better.
_LEAST: Final = {
    **dict.fromkeys(("aiokafka", "asyncpg", "httpcore", "temporalio", "urllib3"), logging.INFO),
    "httpx": logging.WARNING,
}


def configure_logging(settings: Settings) -> None:
    """Set up structlog and the standard library's logging to write to stderr, as the settings say."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    # Where a line of Temporal's comes from is in fields of its own: see _from_temporal.
    activity.logger.activity_info_on_message = False
    workflow.logger.workflow_info_on_message = False
    rendering: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _from_temporal],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error"):
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], True
    # Its lines hold whole URLs, with what clients search for. The API says itself what it was asked.
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False
    for name, least in _LEAST.items():
        logging.getLogger(name).setLevel(max(level, least))


@contextmanager
def bound(**values: str) -> Iterator[None]:
    """Add ``values`` to every line that is logged inside, in this task and those it starts."""
    with structlog.contextvars.bound_contextvars(**values):
        yield


def start_tracing(settings: Settings, service: str) -> None:
    """Trace in this process, before it makes a client of anything, if the setting ``traces`` says so."""
    if settings.traces != "off":
        # Imported by those who trace: it is a lot.
        from orderflow import tracing

        tracing.begin(settings, service)


async def stop_tracing() -> None:
    """Export what is left; two seconds at most."""
    if spans.are_on():
        from orderflow import tracing

        await asyncio.to_thread(tracing.end)


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked for a step: the correlation id ("" where it is not known) and the ``traceparent`` of the command."""

    correlation_id: str = ""
    traceparent: str | None = None


def origin_of(arguments: Sequence[object]) -> Origin:
    """What a step's request says of its origin."""
    request = arguments[0] if arguments else None
    said = getattr(request, "trace", None) or getattr(request, "command", None)
    return Origin(getattr(said, "correlation_id", ""), getattr(said, "traceparent", None))


def identify(workflow_id: str | None, run_id: str | None, origin: Origin) -> dict[str, str]:
    """What a line says of the order and the request it is about; what is not known is left out."""
    order = workflow_id.removeprefix(_ORDER) if workflow_id and workflow_id.startswith(_ORDER) else None
    found = {
        "order_id": order,
        "correlation_id": origin.correlation_id,
        "workflow_id": workflow_id,
        "run_id": run_id,
        "trace_id": spans.trace_id(origin.traceparent),
    }
    return {name: value for name, value in found.items() if value}


def about_order(order_id: object, correlation_id: str = "", traceparent: str | None = None) -> dict[str, str]:
    """The same for who has an order before them, and no workflow."""
    return identify(f"{_ORDER}{order_id}", None, Origin(correlation_id, traceparent))


def _from_temporal(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Temporal's loggers put all they know into one dictionary: the ids become fields, the rest is in its Web UI.

    And a workflow's line has the request's ``traceparent``.
    """
    if traced := spans.trace_id(line.pop("traceparent", None)):
        line["trace_id"] = traced
    for source in ("temporal_workflow", "temporal_activity"):
        said = line.pop(source, None)
        if isinstance(said, dict):
            ids = {ours: str(said[theirs]) for theirs, ours in _TEMPORAL.items() if said.get(theirs)}
            for name, value in identify(ids.get("workflow_id"), ids.get("run_id"), Origin()).items():
                line.setdefault(name, value)
    return line
