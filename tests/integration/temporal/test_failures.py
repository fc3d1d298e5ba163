"""Failures are short enough for Temporal to keep, and still say what happened and where."""

from datetime import timedelta

from temporalio import activity, workflow
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.converter import PayloadConverter
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from orderflow.temporal.converter import DATA_CONVERTER
from orderflow.temporal.failures import MOST_BYTES, BriefFailureConverter
from support.waiting import until


def _deep(depth: int) -> None:
    """A long stack, a long message, and a cause a level."""
    if depth == 0:
        raise ValueError("the bottom: " + "x" * 10_000)
    try:
        _deep(depth - 1)
    except Exception as error:
        raise RuntimeError(f"level {depth} " + "ü" * 2_000) from error


def failed(error: Exception) -> Failure:
    failure = Failure()
    BriefFailureConverter().to_failure(error, PayloadConverter.default, failure)
    return failure


def test_the_longest_failure_fits() -> None:
    try:
        _deep(20)
    except RuntimeError as error:
        failure = failed(error)
    assert failure.ByteSize() < MOST_BYTES
    assert failure.message.startswith("level 20 ")
    assert failure.cause.message.startswith("level 19 ")
    assert failure.stack_trace.rstrip().endswith('raise RuntimeError(f"level {depth} " + "ü" * 2_000) from error')


def test_a_short_one_stays_as_it_is() -> None:
    try:
        raise ApplicationError("no stock", {"slug": "x"}, type="out_of_stock", non_retryable=True) from OSError("away")
    except ApplicationError as error:
        failure = failed(error)
    assert (failure.message, failure.cause.message) == ("no stock", "away")
    assert failure.application_failure_info.non_retryable
    assert failure.application_failure_info.details.payloads


@activity.defn
async def fall() -> None:
    _deep(20)


@workflow.defn
class Falling:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(fall, start_to_close_timeout=timedelta(seconds=5))


async def test_temporal_keeps_it(temporal_server: str) -> None:
    client = await Client.connect(temporal_server, data_converter=DATA_CONVERTER)
    runner = UnsandboxedWorkflowRunner()
    async with Worker(client, task_queue="falling", workflows=[Falling], activities=[fall], workflow_runner=runner):
        handle = await client.start_workflow(Falling.run, id="falling", task_queue="falling")
        kept: list[str] = []

        async def there() -> bool:
            pending = (await handle.describe()).raw_description.pending_activities
            kept[:] = [one.last_failure.message for one in pending if one.HasField("last_failure")]
            return bool(kept)

        await until(there)
        await handle.terminate()
    assert kept[0].startswith("level 20 ")
