"""Runs histories again on the code of this machine, as the workers would: the same converter, sandbox and workflows.

No step is called and nothing is sent: a replay only compares what the code wants with what was recorded.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from google.protobuf.json_format import Parse, ParseError
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.client import Client, WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from operations.explain.runs import RPC_TIMEOUT
from operations.reconciliation.workflow import ReconcileWorkflow
from operations.replaying.difference import Difference, difference
from orderflow.files import UnreadableFile, read_text
from orderflow.settings import Settings
from orderflow.temporal.answering import answering
from orderflow.temporal.client import connect, converter_of
from orderflow.temporal.converter import DATA_CONVERTER
from orderflow.temporal.executions import listed
from orderflow.temporal.failures import BriefFailureConverter
from orderflow.temporal.interceptor import StepInterceptor
from orderflow.temporal.names import ORDER_WORKFLOW
from workflows.order_workflow import OrderWorkflow

#: Histories that are fetched at once.
FETCH: Final = 16
#: Of a history in a file: Temporal ends one at 50 MiB, and JSON is longer.
MOST_BYTES: Final = 256 * 1024 * 1024
#: Failures that are told in full.
MOST_FAILURES: Final = 100


class BadHistory(Exception):
    """A file or an id that gives no history; the message says why."""


class NoHistory(BadHistory):
    """There is no such workflow."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A history that the code on this machine does not repeat."""

    workflow_id: str
    run_id: str
    difference: Difference


@dataclass
class Replayed:
    """What came of a replay. ``seconds``: fetching included."""

    count: int = 0
    events: int = 0
    failed: int = 0
    seconds: float = 0.0
    failures: list[Failed] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Histories a second."""
        return self.count / self.seconds if self.seconds else 0.0


def make_replayer(
    workflows: Sequence[type] = (OrderWorkflow, ReconcileWorkflow),
    *,
    converter: DataConverter = DATA_CONVERTER,
    debug: bool = False,
) -> Replayer:
    """As the workers run their workflows. ``debug``: in this thread, without a limit of time."""
    return Replayer(
        workflows=workflows,
        workflow_runner=UnsandboxedWorkflowRunner(),
        # A failed replay is told here, and sent nowhere: its message is not sealed.
        data_converter=replace(converter, failure_converter_class=BriefFailureConverter),
        interceptors=[StepInterceptor()],
        build_id="replay",  # its default is a hash over all code that is loaded: seconds
        debug_mode=debug,
    )


async def replay(histories: AsyncIterator[WorkflowHistory], converter: DataConverter = DATA_CONVERTER) -> Replayed:
    """Replay all of them; what fails is told, and the rest goes on."""
    done, started = Replayed(), time.monotonic()
    async with make_replayer(converter=converter).workflow_replay_iterator(histories) as results:
        async for result in results:
            done.count += 1
            done.events += len(result.history.events)
            if result.replay_failure is not None:
                done.failed += 1
                if len(done.failures) < MOST_FAILURES:
                    done.failures.append(await failed(result.history, result.replay_failure, converter))
    done.seconds = time.monotonic() - started
    return done


async def failed(history: WorkflowHistory, error: BaseException, converter: DataConverter = DATA_CONVERTER) -> Failed:
    """Why ``history`` does not replay, and where."""
    found = difference(error, await failing_task(history, converter))
    return Failed(history.workflow_id, history.run_id, found)


async def failing_task(history: WorkflowHistory, converter: DataConverter = DATA_CONVERTER) -> list[HistoryEvent]:
    """The events of the first workflow task that does not replay, from its completion to the start of the next one.

    By replaying ever shorter beginnings of the history: a beginning up to a task's start says whether all before it
    was repeated.
    """
    starts = [
        place
        for place, event in enumerate(history.events)
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
    ]
    ends = [*(place + 1 for place in starts[1:]), len(history.events)]
    replayer = make_replayer(converter=converter)

    async def fails(tasks: int) -> bool:
        beginning = WorkflowHistory(history.workflow_id, history.events[: ends[tasks]])
        result = await replayer.replay_workflow(beginning, raise_on_replay_failure=False)
        return result.replay_failure is not None

    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if await fails(middle):
            high = middle
        else:
            low = middle + 1
    return list(history.events[starts[low] + 1 : ends[low]]) if starts else list(history.events)


async def replay_order(settings: Settings, workflow_id: str, run_id: str | None = None) -> Replayed:
    """Replay one workflow's latest run (or that run) of Temporal. Raises NoHistory and Unavailable."""
    client = await _connect(settings)
    return await replay(of_workflow(client, workflow_id, run_id), client.data_converter)


async def replay_query(settings: Settings, query: str) -> Replayed:
    """Replay every run that a visibility query gives. Raises BadHistory and Unavailable."""
    client = await _connect(settings)
    return await replay(of_query(client, query), client.data_converter)


async def replay_files(settings: Settings, paths: Sequence[Path]) -> Replayed:
    """Replay what ``temporal workflow show --output json`` wrote. Raises BadHistory at the first that is none.

    Raises Unavailable where the keyring cannot be read.
    """
    return await replay(of_files(paths), converter_of(settings))


async def history_of(settings: Settings, workflow_id: str, run_id: str | None = None) -> WorkflowHistory:
    """One run's history, the latest by default. Raises NoHistory and Unavailable."""
    return await fetch(await _connect(settings), workflow_id, run_id)


def quiet_sdk() -> None:
    """Have the SDK log nothing, from here on in this process: a failed replay is told once, by who asked for it."""
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)))


async def _connect(settings: Settings) -> Client:
    return await connect(settings, answer_within=RPC_TIMEOUT)


async def of_files(paths: Sequence[Path]) -> AsyncIterator[WorkflowHistory]:
    """Histories as ``temporal workflow show --output json`` gives them. Raises BadHistory."""
    for path in paths:
        yield read_file(path)


def read_file(path: Path) -> WorkflowHistory:
    """One file's history. Raises BadHistory."""
    try:
        history = Parse(read_text(path, MOST_BYTES), History(), ignore_unknown_fields=True)
    except UnreadableFile as error:
        raise BadHistory(f"{error}; it holds no history") from None
    except ParseError as error:
        raise BadHistory(f"{path} holds no history: {str(error)[:200]}") from None
    if not history.events or history.events[0].event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
        raise BadHistory(f"{path} holds no history from its first event on")
    started = history.events[0].workflow_execution_started_event_attributes
    return WorkflowHistory(workflow_id=started.workflow_id, events=list(history.events))


async def of_workflow(client: Client, workflow_id: str, run_id: str | None = None) -> AsyncIterator[WorkflowHistory]:
    """The latest run's history (or that run's). Raises BadHistory and Unavailable."""
    yield await fetch(client, workflow_id, run_id)


async def fetch(client: Client, workflow_id: str, run_id: str | None = None) -> WorkflowHistory:
    """One run's history, the latest by default. Raises BadHistory and Unavailable."""
    async with answering():
        try:
            return await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        except RPCError as error:
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                raise NoHistory(f"Temporal knows no workflow {workflow_id}") from None
            raise


async def of_query(client: Client, query: str) -> AsyncIterator[WorkflowHistory]:
    """Every run that a visibility query gives, running ones included. Raises BadHistory and Unavailable."""
    batch: list[tuple[str, str]] = []
    async with answering():
        try:
            async for info in listed(client, query):
                batch.append((info.execution.workflow_id, info.execution.run_id))
                if len(batch) == FETCH:
                    for history in await _fetched(client, batch):
                        yield history
                    batch = []
        except RPCError as error:
            if error.status is RPCStatusCode.INVALID_ARGUMENT:
                raise BadHistory(f"Temporal does not take this query: {error.message}") from None
            raise
        for history in await _fetched(client, batch):
            yield history


async def _fetched(client: Client, batch: Sequence[tuple[str, str]]) -> list[WorkflowHistory]:
    async def one(workflow_id: str, run_id: str) -> WorkflowHistory | None:
        try:
            return await fetch(client, workflow_id, run_id)
        except BadHistory:
            return None  # past its retention since it was listed

    found = await asyncio.gather(*(one(*execution) for execution in batch))
    return [history for history in found if history is not None]


def since_query(now: datetime, since: timedelta) -> str:
    """Orders whose run was started or closed within ``since``."""
    earliest = (now - since).astimezone(UTC).isoformat()
    return f"WorkflowType = '{ORDER_WORKFLOW}' AND (StartTime >= '{earliest}' OR CloseTime >= '{earliest}')"
