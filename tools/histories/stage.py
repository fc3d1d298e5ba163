"""Where a path of an order's life is played to be recorded: a world, what can be broken in it, and its order.

Orders are started as the API starts them (search attributes, memo, summary), because histories of production look so.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from orderflow.domain.orders import Order
from orderflow.stack.probes import child_environment
from orderflow.temporal.names import workflow_id
from orderflow.temporal.runs import OrderRuns
from support.orders import a_start, an_order
from support.stack import Databases
from support.waiting import until
from support.world import Handle, World, order_id

#: For what takes time on purpose: retries, a workflow task that times out.
PATIENCE_SECONDS = 60


class Stage:
    """One scenario's world. Every workflow that is started here is recorded."""

    def __init__(self, world: World, databases: Databases, temporal_address: str) -> None:
        self.world = world
        self.gateway = world.gateway
        self._databases = databases
        self._temporal_address = temporal_address
        self.started: list[str] = []

    # --- Orders ---

    async def place(self, order: Order | None = None, token: str = "tok_ok") -> Handle:
        """Start an order as the API does."""
        order = order or an_order(("bread", 2, 150))
        start = a_start(order, token)
        assert await OrderRuns(self._client, timedelta(seconds=5)).start(order, start, start.request_hash)
        return self._record(self.world.client.get_workflow_handle(workflow_id(order.order_id)))

    async def start_by_hand(self, order: Order, *, suffix: str = "", token: str = "tok_ok") -> Handle:
        """Start an order as ``temporal workflow start`` does: no search attributes, no memo."""
        return self._record(await self.world.place(order, token, run_id=suffix))

    async def approved(self, order: Order | None = None, token: str = "tok_ok") -> Handle:
        """Place, and approve when the draft has been there for a while."""
        handle = await self.place(order, token)
        await self.happened(handle, "TIMER_STARTED")
        await self.world.ask(handle, "approve")
        return handle

    async def fulfilling(self) -> Handle:
        """Place, approve, and wait for FULFILLING."""
        handle = await self.approved()
        await self.reaches(handle, "FULFILLING")
        return handle

    async def ship_and_complete(self, handle: Handle) -> None:
        """The rest of a good life."""
        await self.world.ask(handle, "ship", data={"carrier": "UPS", "tracking_number": "1Z"})
        await self.world.ask(handle, "complete")
        await self.ends(handle, "COMPLETED")

    async def ship_and_complete_when_fulfilling(self, handle: Handle) -> None:
        """The same, for an order that is still on its way there."""
        await self.reaches(handle, "FULFILLING")
        await self.ship_and_complete(handle)

    async def ends(self, handle: Handle, status: str | None) -> None:
        """Wait for the workflow's end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            result = await handle.result()
        found = result.status if hasattr(result, "status") else result["status"]
        assert found == status, f"ended {found}, not {status}"

    async def reset(self, handle: Handle) -> Handle:
        """``temporal workflow reset`` to the end of the first workflow task: the run that goes on from there."""
        history = await handle.fetch_history()
        first = next(e for e in history.events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
        run_id = (await handle.describe()).run_id
        answer = await self.world.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=self.world.client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=run_id),
                reason="recorded",
                request_id=run_id,
                workflow_task_finish_event_id=first.event_id,
            )
        )
        return self.world.client.get_workflow_handle(handle.id, run_id=answer.run_id)

    # --- What can be seen ---

    async def reaches(self, handle: Handle, status: str) -> None:
        """Wait, longer than a workflow task may take, until the order has ``status``."""

        async def there() -> bool:
            return (await self.world.statuses(handle))[-1:] == [status]

        await until(there, seconds=PATIENCE_SECONDS)

    async def count(self, handle: Handle, event: str) -> int:
        """How many events of a type, such as ``TIMER_FIRED``, the workflow's last run has."""
        wanted = EventType.Value(f"EVENT_TYPE_{event}")
        history = await self.world.client.get_workflow_handle(handle.id).fetch_history()
        return sum(e.event_type == wanted for e in history.events)

    async def happened(self, handle: Handle, event: str, times: int = 1) -> None:
        """Wait until there are ``times`` events of a type."""

        async def there() -> bool:
            return await self.count(handle, event) >= times

        await until(there, seconds=PATIENCE_SECONDS, every=0.1)

    async def continued(self, handle: Handle) -> None:
        """Wait until the workflow has continued as new."""

        async def there() -> bool:
            history = await self.world.client.get_workflow_handle(handle.id).fetch_history()
            return bool(history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id)

        await until(there, seconds=PATIENCE_SECONDS, every=0.1)

    # --- What can be broken ---

    @asynccontextmanager
    async def worker_down(self, service: str) -> AsyncIterator[None]:
        """No worker of ``service`` runs."""
        await self.world.stop_worker(service)
        yield
        await self.world.start_worker(service)

    @asynccontextmanager
    async def orders_database_away(self) -> AsyncIterator[None]:
        """Connections end, and new ones find no such database."""
        name = self._databases.orders.rpartition("/")[2].partition("?")[0]
        admin = await asyncpg.connect(self._databases.admin)
        try:
            await admin.execute(f"ALTER DATABASE {name} WITH CONNECTION LIMIT 0")
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            await until(lambda: _nobody_is_connected(admin, name))
            await admin.execute(f"ALTER DATABASE {name} RENAME TO {name}_away")
            yield
            await admin.execute(f"ALTER DATABASE {name}_away RENAME TO {name}")
            await admin.execute(f"ALTER DATABASE {name} WITH CONNECTION LIMIT -1")
        finally:
            await admin.close()

    @asynccontextmanager
    async def row_locked(self, handle: Handle) -> AsyncIterator[None]:
        """Somebody holds the lock of the order's row: statements that move it wait, and are given up."""
        connection = await asyncpg.connect(self._databases.as_admin("orders"))
        try:
            async with connection.transaction():
                await connection.execute("SELECT FROM orders WHERE order_id = $1 FOR UPDATE", order_id(handle))
                yield
        finally:
            await connection.close()

    async def somebody_waits_for_a_lock(self) -> None:
        """Wait until a statement in the orders database does."""
        connection = await asyncpg.connect(self._databases.as_admin("orders"))

        async def waits() -> bool:
            return bool(
                await connection.fetchval(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            )

        try:
            await until(waits, seconds=PATIENCE_SECONDS)
        finally:
            await connection.close()

    @asynccontextmanager
    async def orders_worker_process(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """An orders worker as a process of its own, which may be killed."""
        environment = child_environment(
            {
                "ORDERFLOW_TEMPORAL_ADDRESS": self._temporal_address,
                "ORDERFLOW_ORDERS_DATABASE_URL": self._databases.orders,
                "PYTHONPATH": os.pathsep.join(sys.path),
            }
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.main", "worker", "orders"),
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _client(self) -> Any:
        return self.world.client

    def _record(self, handle: Handle) -> Handle:
        self.started.append(handle.id)
        return handle


async def _nobody_is_connected(admin: Any, name: str) -> bool:
    return not await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name)
