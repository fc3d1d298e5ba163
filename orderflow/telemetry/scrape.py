"""What a process answers to ``GET /metrics``: our metrics, and those of the Temporal SDK behind them.

The SDK counts in Rust, and shows it only on an HTTP server of its own. That one listens on loopback, on a port that
the system chooses, and is read here, so that a process has one address for scrapes: the one it serves anyway.
"""

import asyncio
import logging
import socket
from http.client import HTTPConnection, HTTPException
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from orderflow.telemetry import meters
from orderflow.telemetry.metrics import SAMPLE_FAILURES

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_LOOPBACK: Final = "127.0.0.1"
#: Between choosing a port and listening on it, somebody else may take it.
_TRIES: Final = 5
_SDK_SECONDS: Final = 2.0
#: As lines of ours, without the fields, which hold whole failures.
_SDK_LOGS: Final = LoggingConfig(
    filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
    forwarding=LogForwardingConfig(
        logger=logging.getLogger("temporalio.core"), append_log_fields_to_message=False, prepend_target_on_message=False
    ),
)

log = structlog.get_logger(__name__)


class MetricsPage:
    """The page. ``sdk``: where the Temporal SDK shows its metrics, if it does."""

    def __init__(self, sdk: str | None = None) -> None:
        self._sdk = sdk

    async def answer(self, _: Request) -> Response:
        """``GET /metrics``."""
        ours = await meters.exposition(SAMPLE_FAILURES)
        return Response(ours + await self._of_sdk(), media_type=CONTENT_TYPE)

    async def _of_sdk(self) -> bytes:
        if self._sdk is None:
            return b""
        try:
            return await asyncio.to_thread(_read, self._sdk)
        except (HTTPException, OSError) as error:
            log.warning("sdk_metrics_missing", error=repr(error))
            SAMPLE_FAILURES.add("temporal_sdk")
            return b""


def measured() -> MetricsPage:
    """Begin to count in this process, before its first Temporal client is made."""
    meters.switch_on()
    return MetricsPage(_sdk_counts())


def _sdk_counts() -> str | None:
    """Let the Temporal clients of this process count. Returns where that is to be read."""
    for _ in range(_TRIES):
        address = f"{_LOOPBACK}:{_free_port()}"
        config = PrometheusConfig(
            bind_address=address, counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True
        )
        try:
            telemetry = TelemetryConfig(metrics=config, logging=_SDK_LOGS)
            Runtime.set_default(Runtime(telemetry=telemetry), error_if_already_set=False)
        except ValueError as error:
            log.info("sdk_metrics_port_taken", address=address, error=str(error))
        else:
            return address
    log.warning("sdk_metrics_missing", error=f"no port in {_TRIES} tries")
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _read(address: str) -> bytes:
    connection = HTTPConnection(address, timeout=_SDK_SECONDS)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read()
    finally:
        connection.close()
