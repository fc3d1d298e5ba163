"""What every process of ours does first and last: logs, traces and metrics, as the settings say."""

import asyncio

from orderflow.settings import Settings
from orderflow.telemetry import spans
from orderflow.telemetry.logs import configure_logging
from orderflow.telemetry.scrape import MetricsPage, measured


def begin(settings: Settings, service: str, *, serves_metrics: bool = True) -> MetricsPage | None:
    """Log, trace and count from now on, before the process makes a client of anything.

    ``service``: what traces call the process. Returns what answers a scrape; None where nothing is counted: the
    settings say so, or the process ``serves_metrics`` nowhere. Raises OSError when traces go to a file that cannot be
    written.
    """
    configure_logging(settings.log_level, settings.log_format)
    if settings.traces != "off":
        # Imported by those who trace: it is a lot.
        from orderflow.telemetry import tracing

        tracing.begin(settings.traces, service, sample_ratio=settings.traces_sample_ratio, data_dir=settings.data_dir)
    return measured() if settings.metrics and serves_metrics else None


async def end() -> None:
    """Export the traces that are left; two seconds at most."""
    if spans.are_on():
        from orderflow.telemetry import tracing

        await asyncio.to_thread(tracing.end)
