"""What the workers of the three task queues share: connecting, options, serving until told to stop."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

import structlog
from temporalio.client import Client
from temporalio.worker import PollerBehaviorSimpleMaximum, UnsandboxedWorkflowRunner, Worker

from orderflow.domain.errors import Unavailable
from orderflow.pauses import Backoff, pause
from orderflow.settings import Settings
from orderflow.telemetry.health import Health
from orderflow.telemetry.readiness import OK, STARTING, STOPPING, PartKind, PartState
from orderflow.temporal.client import connect, plain
from orderflow.temporal.interceptor import StepInterceptor

#: Half of them ask for tasks of runs that this worker does not hold: an order has three tasks, and its first is such
#: a one. By default one poll of five asks for those: at 30 orders at once each twentieth waited for four seconds.
WORKFLOW_POLLS: Final = 10
FOR_NEW_RUNS: Final = 0.5
#: A worker that has worked for so long was let in: what ends it later is news, and tried again at once.
SOUND_SECONDS: Final = 60.0
#: The SDK calls nobody when a worker has begun.
_BEGUN_SECONDS: Final = 0.02

log = structlog.get_logger(__name__)


def steps_of(contract: type, steps: object) -> list[Callable[..., Any]]:
    """The activities that ``steps`` implements: the abstract methods of its ``contract``, in its order."""
    missing: frozenset[str] = contract.__abstractmethods__  # type: ignore[attr-defined]
    return [getattr(steps, name) for name in vars(contract) if name in missing]


def make_worker(
    client: Client,
    settings: Settings,
    task_queue: str,
    activities: Sequence[Callable[..., Any]],
    workflows: Sequence[type] = (),
) -> Worker:
    """A worker of one task queue.

    Workflows run unsandboxed: they import no I/O (import-linter holds that), and the sandbox costs more than an
    order's own Python.
    """
    return Worker(
        client,
        task_queue=task_queue,
        activities=activities,
        workflows=workflows,
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=[StepInterceptor()],
        workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(maximum=WORKFLOW_POLLS),
        nonsticky_to_sticky_poll_ratio=FOR_NEW_RUNS,
        max_cached_workflows=settings.worker_max_cached_workflows,
        max_concurrent_activities=settings.worker_max_concurrent_activities,
        graceful_shutdown_timeout=timedelta(seconds=settings.worker_graceful_shutdown_seconds),
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=settings.worker_sticky_timeout_seconds),
    )


async def serve_queue(
    settings: Settings,
    stopping: asyncio.Event,
    health: Health,
    part: str,
    make: Callable[[Client], Worker],
) -> None:
    """Connect, however long Temporal is away, and work until ``stopping`` is set; then finish what runs.

    Where Temporal does not let it work (its namespace is not there, a right was withdrawn), it waits and tries again.
    """
    health.set(part, STARTING)
    backoff = Backoff(0.2)
    began: float | None = None

    def working() -> None:
        nonlocal began
        began = time.monotonic()
        health.set(part, OK)
        log.info("worker_started", worker=part)

    # With a client each: a worker that was refused stays the one of its queue for its client, which takes no other.
    while (client := await _connected(settings, stopping, health, part)) is not None:
        worker, began = make(client), None
        try:
            await _work(worker, stopping, working, lambda: health.set(part, STOPPING))
        except RuntimeError as error:  # the SDK has no type of its own for it
            if not stopping.is_set():
                health.set(part, PartState(PartKind.WAITING, f"Temporal: {plain(error)}"))
            log.warning("worker_refused", worker=part, namespace=settings.temporal_namespace, error=plain(error))
            if began is not None and time.monotonic() - began > SOUND_SECONDS:
                backoff.reset()
            await pause(backoff.next(), stopping)
    log.info("worker_stopped", worker=part)


async def _work(
    worker: Worker, stopping: asyncio.Event, working: Callable[[], None], ending: Callable[[], None]
) -> None:
    """Work until ``stopping`` is set, then finish what runs. Raises RuntimeError where Temporal does not let it.

    Not ``async with worker``: that says nothing of when Temporal has let it begin, and ends who waits by cancelling.
    """
    running, told = asyncio.create_task(worker.run()), asyncio.create_task(stopping.wait())
    try:
        while not worker.is_running and not running.done() and not told.done():
            await asyncio.wait({running, told}, timeout=_BEGUN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if worker.is_running:
            working()
        await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()
        if stopping.is_set():
            ending()
        if worker.is_running:
            await worker.shutdown()
        else:
            running.cancel()  # it still asks whether it may begin
        await asyncio.wait({running})
    if not running.cancelled():
        running.result()


async def _connected(settings: Settings, stopping: asyncio.Event, health: Health, part: str) -> Client | None:
    backoff = Backoff(0.2)
    while not stopping.is_set():
        try:
            return await connect(settings)
        except Unavailable as error:
            health.set(part, PartState(PartKind.WAITING, f"Temporal: {error.detail}"))
            log.warning("temporal_unreachable", worker=part, address=settings.temporal_address, error=error.detail)
            await pause(backoff.next(), stopping)
    return None
