"""Temporal: connecting, the data converter, and our errors as Temporal's, in one place."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from pydantic import ValidationError
from structlog.contextvars import bind_contextvars
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, RetryConfig
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.service import GrpcCompression, TLSConfig
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from orderflow import spans
from orderflow.domain.errors import Rejection, Unavailable
from orderflow.domain.model import what_is_wrong
from orderflow.failures import BriefFailureConverter
from orderflow.meters import is_on
from orderflow.metrics import STEP_RETRIES, STEP_SECONDS
from orderflow.settings import Settings
from orderflow.telemetry import identify, origin_of


class _PayloadConverter(PydanticPayloadConverter):
    """pydantic's, which says of what it cannot read only what is wrong: errors go to logs, traces and the Web UI."""

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        try:
            return super().from_payloads(payloads, type_hints)
        except ValidationError as error:
            raise ValueError(f"not a {error.title}: {what_is_wrong(error)}") from None


DATA_CONVERTER: Final = DataConverter(
    payload_converter_class=_PayloadConverter, failure_converter_class=BriefFailureConverter
)


async def connect(settings: Settings, *, answer_within: timedelta | None = None, lazy: bool = False) -> Client:
    """A client for workers, or, with ``answer_within``, one that gives up a call early (the API).

    ``rpc_timeout`` alone is per attempt: a refused connection would take 9 s. ``lazy`` connects at first use.
    Raises RuntimeError when the server cannot be reached (not when lazy), and where a TLS file cannot be read.
    """
    retry = RetryConfig(max_elapsed_time_millis=int(answer_within.total_seconds() * 1000)) if answer_within else None
    return await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        api_key=settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else None,
        tls=_tls(settings),
        data_converter=DATA_CONVERTER,
        retry_config=retry,
        lazy=lazy,
        interceptors=_interceptors(),
        grpc_compression=GrpcCompression.GZIP if settings.temporal_compression else GrpcCompression.NONE,
    )


def _interceptors() -> Sequence[ClientInterceptor]:
    if not spans.are_on():
        return ()
    from orderflow.tracing import temporal_interceptors

    return temporal_interceptors()


def _tls(settings: Settings) -> bool | TLSConfig:
    ca, cert, key, name = (
        settings.temporal_tls_ca_file,
        settings.temporal_tls_cert_file,
        settings.temporal_tls_key_file,
        settings.temporal_tls_server_name,
    )
    if not (ca or cert or name):
        return settings.temporal_tls or settings.temporal_api_key is not None
    try:
        return TLSConfig(
            server_root_ca_cert=ca.read_bytes() if ca else None,
            domain=name,
            client_cert=cert.read_bytes() if cert else None,
            client_private_key=key.read_bytes() if key else None,
        )
    except OSError as error:
        raise RuntimeError(f"TLS to Temporal: {error}") from error


class StepInterceptor(Interceptor):
    """Around every step: our errors become Temporal's, each log line names the order, and it is measured.

    A Rejection is never retried, Unavailable always is.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap each step."""
        return _Step(_MeasuredStep(next) if is_on() else next)


class _Step(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        # Until the task ends: the SDK's own line about a failure comes after us.
        bind_contextvars(**identify(info.workflow_id, info.workflow_run_id, origin_of(input.args)))
        try:
            return await super().execute_activity(input)
        except Rejection as error:
            raise ApplicationError(
                str(error), error.problem.to_data(), type=error.problem.slug, non_retryable=True
            ) from error
        except Unavailable as error:
            raise ApplicationError(str(error), type="unavailable") from error


class _MeasuredStep(ActivityInboundInterceptor):
    """Inside of ``_Step``, where errors are still ours. A replay of the workflow does not come here."""

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        if info.attempt > 1:
            STEP_RETRIES.add(info.activity_type)
        outcome, started = "error", time.perf_counter()
        try:
            result = await super().execute_activity(input)
            outcome = _answer(result)
            return result
        except Rejection:
            outcome = "rejected"
            raise
        except Unavailable:
            outcome = "unavailable"
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            STEP_SECONDS.observe(time.perf_counter() - started, info.activity_type, outcome)


def _answer(result: object) -> str:
    """What the step itself says of how it went; "ok" where it says nothing."""
    return str(getattr(getattr(result, "outcome", result), "state", "ok"))
