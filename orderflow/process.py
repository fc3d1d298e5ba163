"""What every process of ours does first and last: logs, traces and metrics, as the settings say."""

import asyncio
import contextlib
import gc
import resource
from typing import Final

from orderflow.settings import Settings
from orderflow.telemetry import spans
from orderflow.telemetry.logs import configure_logging
from orderflow.telemetry.scrape import MetricsPage, measured

#: Objects made until the youngest are looked through for cycles (Python's own: 700), and how often the older ones are,
#: beside that. What a request or a step makes is gone before: a look finds nothing, and costs a tenth of all CPU.
_THRESHOLDS: Final = (20_000, 50, 100)
#: Files and connections that are open at once. The usual 1024 is used up by idle clients.
_MOST_OPEN: Final = 65_536
#: Of them, what a process needs for itself: pools, Temporal, Kafka, files, and room for those that are just closed.
_OWN: Final = 200


def begin(settings: Settings, service: str, *, serves_metrics: bool = True) -> MetricsPage | None:
    """Log, trace and count from now on, before the process makes a client of anything.

    ``service``: what traces call the process. Returns what answers a scrape; None where nothing is counted: the
    settings say so, or the process ``serves_metrics`` nowhere. Raises OSError when traces go to a file that cannot be
    written.
    """
    configure_logging(settings.log_level, settings.log_format)
    look_for_garbage_seldom()
    allow_connections()
    if settings.traces != "off":
        # Imported by those who trace: it is a lot.
        from orderflow.telemetry import tracing

        tracing.begin(settings.traces, service, sample_ratio=settings.traces_sample_ratio, data_dir=settings.data_dir)
    return measured() if settings.metrics and serves_metrics else None


def look_for_garbage_seldom() -> None:
    """For a process that serves. Measured in docs/performance.md."""
    gc.set_threshold(*_THRESHOLDS)


def allow_connections() -> None:
    """Take as many open files and connections as the system lets this process have, up to a limit of ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_OPEN if hard == resource.RLIM_INFINITY else min(hard, _MOST_OPEN)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it: then it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def most_connections() -> int:
    """How many clients may be connected at once, so that the rest of the process still has files to open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    may = _MOST_OPEN if soft == resource.RLIM_INFINITY else min(soft, _MOST_OPEN)
    return max(may - _OWN, may // 2)


async def end() -> None:
    """Export the traces that are left; two seconds at most."""
    if spans.are_on():
        from orderflow.telemetry import tracing

        await asyncio.to_thread(tracing.end)
