"""A worker that Temporal does not let work waits and says why, instead of ending its process."""

import asyncio
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.worker import Worker

from orderflow.settings import Settings
from orderflow.telemetry.health import Health
from orderflow.telemetry.readiness import OK, STOPPING, PartKind, PartState
from orderflow.temporal.worker import make_worker, serve_queue
from support.waiting import until


@activity.defn
async def nothing() -> None:
    """A worker needs a step."""


class Told(Health):
    """What the part said, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[PartState] = []

    def set(self, part: str, state: PartState) -> None:
        self.states.append(state)


async def register(client: Client, name: str) -> None:
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromSeconds(86_400)
    await client.workflow_service.register_namespace(request)


async def test_a_worker_whose_namespace_is_not_there_waits_for_it_and_says_so(temporal_server: str) -> None:
    name = f"test-{uuid4().hex[:12]}"
    settings = Settings(temporal_address=temporal_server, temporal_namespace=name, worker_graceful_shutdown_seconds=1)
    stopping, health = asyncio.Event(), Told()

    def make(client: Client) -> Worker:
        return make_worker(client, settings, "serving", [nothing])

    serving = asyncio.create_task(serve_queue(settings, stopping, health, "orders", make))

    async def waits() -> bool:
        return health.states[-1:] == [PartState(PartKind.WAITING, f"Temporal: namespace {name} is not found")]

    async def works() -> bool:
        return health.states[-1:] == [OK]

    await until(waits, seconds=20)
    assert OK not in health.states, "it is not ready before it may work"
    await register(await Client.connect(temporal_server), name)
    await until(works, seconds=60)
    stopping.set()
    await asyncio.wait_for(serving, 20)
    assert health.states[-1] == STOPPING


async def test_a_worker_that_fails_while_it_works_is_made_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, health = asyncio.Event(), Told()
    made: list[Worker] = []

    def make(client: Client) -> Worker:
        worker = make_worker(client, settings, "serving", [nothing])
        if not made:
            poll, error = worker._bridge_worker.poll_activity_task, RuntimeError('status: x, message: "Not allowed."')

            async def refused() -> object:
                monkeypatch.setattr(worker._bridge_worker, "poll_activity_task", poll)
                raise error

            monkeypatch.setattr(worker._bridge_worker, "poll_activity_task", refused)
        made.append(worker)
        return worker

    serving = asyncio.create_task(serve_queue(settings, stopping, health, "orders", make))

    async def works_again() -> bool:
        return len(made) == 2 and health.states[-1] == OK

    await until(works_again, seconds=30)
    assert PartState(PartKind.WAITING, "Temporal: not allowed") in health.states
    stopping.set()
    await asyncio.wait_for(serving, 20)
    assert made[-1].is_shutdown
