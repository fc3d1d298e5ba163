"""Around every step: our errors become Temporal's, each log line names the order, and the step is measured."""

import asyncio
import time
from typing import Any

from structlog.contextvars import bind_contextvars
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from orderflow.domain.errors import Rejection, Unavailable
from orderflow.telemetry.meters import is_on
from orderflow.telemetry.metrics import STEP_NO_ANSWERS, STEP_RETRIES, STEP_SECONDS
from orderflow.telemetry.origin import identify, origin_of
from orderflow.temporal import answers
from orderflow.temporal.failures import UNAVAILABLE
from orderflow.temporal.names import order_of


class StepInterceptor(Interceptor):
    """Around every step: our errors become Temporal's, each log line names the order, and it is measured.

    A Rejection is never retried, Unavailable always is. What a step answers is given its names: see ``answers``.
    """

    def __init__(self) -> None:
        answers.report = STEP_NO_ANSWERS.add

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap each step."""
        return _Step(_MeasuredStep(next) if is_on() else next)


class _Step(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        # Until the task ends: the SDK's own line about a failure comes after us.
        bind_contextvars(**identify(info.workflow_id, info.workflow_run_id, origin_of(input.args)))
        try:
            result = await super().execute_activity(input)
        except Rejection as error:
            raise ApplicationError(
                str(error), error.problem.to_data(), type=error.problem.slug, non_retryable=True
            ) from error
        except Unavailable as error:
            raise ApplicationError(str(error), error.dependency, type=UNAVAILABLE) from error
        return answers.named(result, order_of(info.workflow_id or ""), info.activity_type)


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
        except ApplicationError as error:
            if error.category is ApplicationErrorCategory.BENIGN and error.type:
                outcome = error.type  # no failure: a near step that is not taken here
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            STEP_SECONDS.observe(time.perf_counter() - started, info.activity_type, outcome)


def _answer(result: object) -> str:
    """What the step itself says of how it went; "ok" where it says nothing."""
    return str(getattr(getattr(result, "outcome", result), "state", "ok"))
