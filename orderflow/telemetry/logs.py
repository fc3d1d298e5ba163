"""Logs: what an entry point sets up, and what is said of the request or step at hand.

One line an event, as JSON or for a terminal. Call ``configure_logging`` once, in an entry point; everywhere else:
``structlog.get_logger()``. Lines of libraries (uvicorn, temporalio, aiokafka) come out in the same form, and what is
said while a request is served or a step is taken names its order, workflow, correlation id and trace. Tracebacks never
show local variables: a payment token could be among them.
API keys and bearer tokens are scrubbed from every line, last.
"""

import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, TextIO, TypeAlias

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger
from temporalio import activity, workflow

from orderflow.telemetry import spans
from orderflow.telemetry.origin import Origin, identify
from orderflow.telemetry.printable import printable

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Format: TypeAlias = Literal["auto", "console", "json"]

#: What Temporal's own loggers say about where they speak from, and what we call it.
_TEMPORAL: Final = {"workflow_id": "workflow_id", "run_id": "run_id", "workflow_run_id": "run_id"}
#: Libraries whose debug lines hold whole records, requests or statements, and with them who bought what. httpx has a
#: line for each call, too, which the metrics and traces of the gateway say better.
_LEAST: Final = {
    **dict.fromkeys(("aiokafka", "asyncpg", "httpcore", "temporalio", "urllib3"), logging.INFO),
    "httpx": logging.WARNING,
}


def configure_logging(level_name: Level, line_format: Format) -> None:
    """Set up structlog and the standard library's logging to write to stderr.

    ``level_name``: the least level that is logged. ``line_format``: ``auto`` is JSON unless stderr is a terminal.
    """
    as_json = line_format == "json" or (line_format == "auto" and not sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[level_name.upper()]
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
        else [_printable, structlog.dev.ConsoleRenderer(exception_formatter=_plain_traceback)]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _from_temporal],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering, _scrubbed],
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


#: API keys; what stands behind Bearer; and JSON Web Tokens, wherever they stand.
_SECRETS: Final = re.compile(
    r"ofk_[A-Za-z0-9_-]+|(?<=bearer)[\s=:]+[A-Za-z0-9._~+/-]{16,}=*|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",
    re.IGNORECASE,
)
SCRUBBED: Final = "[scrubbed]"


def _scrubbed(_: WrappedLogger, __: str, line: Any) -> str:
    """The whole line as it is written, tracebacks included: whoever reads logs is not who may call the API."""
    return _SECRETS.sub(lambda found: (" " if found[0][0].isspace() else "") + SCRUBBED, str(line))


def _printable(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """For a terminal, which would obey a control character. JSON writes it as ``\\u001b``."""
    return {name: value if name == "exc_info" else _seen(value) for name, value in line.items()}


def _seen(value: object) -> object:
    if isinstance(value, str):
        return printable(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return printable(repr(value))


def _plain_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    written = io.StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    out.write(printable(written.getvalue()))


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
