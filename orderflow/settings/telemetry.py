"""What a process tells of itself: logs, traces, health and metrics."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from orderflow import urls
from orderflow.settings.common import CommonSettings


def _destination(traces: str) -> str:
    if traces in ("off", "file"):
        return traces
    if not traces.startswith(("http://", "https://")):
        raise ValueError("it is neither off nor file nor the URL of a collector, http:// or https://")
    if traces.rstrip("/").endswith("/v1/traces"):
        raise ValueError("the collector's URL goes without /v1/traces, which is added")
    return urls.check(traces, urls.HTTP)


class TelemetrySettings(CommonSettings):
    """Logs, traces, health and metrics."""

    # --- Logs ---
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else JSON."
    )

    # --- Traces ---
    traces: Annotated[str, AfterValidator(_destination)] = Field(
        "off",
        description="Where OpenTelemetry traces go: `off`; `file`: OTLP as JSON lines, `traces/*.jsonl` in the data "
        "folder; or the URL of an OTLP/HTTP collector, such as `http://localhost:4318`, without `/v1/traces`.",
    )
    traces_sample_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="Share of requests that are traced, unless their `traceparent` says whether they are."
    )

    # --- Health and metrics ---
    health_host: str = Field(
        "127.0.0.1",
        description="Where a process answers `/health/live`, `/health/ready` (with each of its parts) and `/metrics`: "
        "a private network, as nobody is asked who they are. The API has another port for it than for its clients.",
    )
    health_port: int = Field(0, ge=0, le=65535, description="The port for that; 0: none, and no metrics.")
    metrics: bool = Field(
        True,
        description="Whether a process counts, and serves Prometheus metrics at `/metrics`, beside its health "
        "endpoint (`ORDERFLOW_HEALTH_PORT`).",
    )
