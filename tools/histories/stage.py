"""Where a path of an order's life is played to be recorded: a world, what can be broken in it, and its order.

Commands go the API's way (the row first, then Temporal is told), because histories of production look so.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowFailureError

from orderflow.domain.orders import Order
from orderflow.settings import Service
from orderflow.stack.probes import child_environment
from orderflow.temporal.names import ORDER_WORKFLOW, ORDERS_QUEUE
from support.stack import Databases
from support.waiting import until
from support.world import Handle, World, order_id
from workers import orders as orders_worker

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
        """Make a DRAFT, as the API does."""
        return self._record(await self.world.place(order, token))

    async def start_by_hand(self, workflow_id: str, *arguments: object) -> Handle:
        """Start a workflow as ``temporal workflow start`` does: no search attributes, and any arguments."""
        handle: Handle = await self.world.client.start_workflow(
            ORDER_WORKFLOW, args=arguments, id=workflow_id, task_queue=ORDERS_QUEUE
        )
        return self._record(handle)

    async def approved(self, order: Order | None = None, token: str = "tok_ok") -> Handle:
        """Place and approve: the run begins."""
        handle = await self.place(order, token)
        await self.world.accept(handle, "approve")
        return handle

    async def fulfilling(self, order: Order | None = None) -> Handle:
        """Place, approve, and wait until the order is FULFILLING, and its workflow has nothing to do."""
        handle = await self.approved(order)
        await self.reaches(handle, "FULFILLING")
        await self.idles(handle)
        return handle

    async def ships(self, handle: Handle) -> None:
        """The rest of a good run."""
        await self.reaches(handle, "FULFILLING")
        await self.ship(handle)
        await self.ends(handle, "SHIPPED")

    async def ship(self, handle: Handle) -> None:
        """Ship, and wait until the workflow has recorded it."""
        await self.world.ask(handle, "ship", data={"carrier": "UPS", "tracking_number": "1Z"})
        await self.reaches(handle, "SHIPPED")

    async def ends(self, handle: Handle, status: str | None) -> None:
        """Wait for the workflow's end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            result = await self._latest(handle).result()
        found = result.status if hasattr(result, "status") else result["status"]
        assert found == status, f"ended {found}, not {status}"

    async def fails(self, handle: Handle) -> None:
        """Wait until the workflow has failed."""
        with contextlib.suppress(WorkflowFailureError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._latest(handle).result()
            raise AssertionError("it came to a good end")

    async def reset(self, handle: Handle, tasks: int = 1) -> None:
        """``temporal workflow reset`` to the end of the workflow task with this number: another run goes on there."""
        history = await self._latest(handle).fetch_history()
        completed = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
        run_id = (await self._latest(handle).describe()).run_id
        await self.world.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=self.world.client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=run_id),
                reason="recorded",
                request_id=run_id,
                workflow_task_finish_event_id=completed[tasks - 1].event_id,
            )
        )

    async def terminate(self, handle: Handle) -> None:
        """``temporal workflow terminate``."""
        await self._latest(handle).terminate()

    async def forget_token(self, handle: Handle) -> None:
        """Delete the order's payment token, as nobody of ours would."""
        connection = await asyncpg.connect(self._databases.as_admin("orders"))
        try:
            await connection.execute("DELETE FROM payment_tokens WHERE order_id = $1", order_id(handle))
        finally:
            await connection.close()

    def _latest(self, handle: Handle) -> Handle:
        return self.world.client.get_workflow_handle(handle.id)

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

    async def idles(self, handle: Handle, but_for: int = 0) -> None:
        """Wait until the workflow's last task is completed, and no step is under way, or so many."""

        async def there() -> bool:
            description = (await self._latest(handle).describe()).raw_description
            return not description.HasField("pending_workflow_task") and len(description.pending_activities) == but_for

        await until(there, seconds=PATIENCE_SECONDS, every=0.05)

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
    async def not_here(self, *services: str) -> AsyncIterator[None]:
        """The orders worker's process has not got the steps of ``services``."""
        world = self.world
        payments = None if "payments" in services else world.payment_steps
        inventory = None if "inventory" in services else world.inventory_steps
        await world.stop_worker("orders")
        worker = orders_worker.make(world.client, world.settings, world.orders, payments, inventory)
        running = asyncio.create_task(worker.run())
        yield
        await worker.shutdown()
        await running
        await world.start_worker("orders")

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
        async with self._locked("orders", "SELECT FROM orders WHERE order_id = $1 FOR UPDATE", order_id(handle)):
            yield

    @asynccontextmanager
    async def stock_locked(self, sku: str) -> AsyncIterator[None]:
        """Somebody holds the lock of a SKU's row."""
        async with self._locked("inventory", "SELECT FROM stock WHERE sku = $1 FOR UPDATE", sku):
            yield

    @asynccontextmanager
    async def _locked(self, service: Service, sql: str, value: object) -> AsyncIterator[None]:
        connection = await asyncpg.connect(self._databases.as_admin(service))
        try:
            async with connection.transaction():
                await connection.execute(sql, value)
                yield
        finally:
            await connection.close()

    async def wait_for_a_lock(self, service: Service = "orders", statements: int = 1) -> None:
        """Return once so many statements wait for a lock in the database of ``service``."""
        connection = await asyncpg.connect(self._databases.as_admin(service))

        async def waits() -> bool:
            waiting = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return int(waiting) >= statements

        try:
            await until(waits, seconds=PATIENCE_SECONDS)
        finally:
            await connection.close()

    @asynccontextmanager
    async def worker_process(self, *roles: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A worker as a process of its own, which may be killed."""
        environment = child_environment(
            {
                "ORDERFLOW_TEMPORAL_ADDRESS": self._temporal_address,
                "ORDERFLOW_ORDERS_DATABASE_URL": self._databases.orders,
                "ORDERFLOW_INVENTORY_DATABASE_URL": self._databases.inventory,
                "PYTHONPATH": os.pathsep.join(sys.path),
            }
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.main", "worker", *roles),
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

    def _record(self, handle: Handle) -> Handle:
        self.started.append(handle.id)
        return handle


async def _nobody_is_connected(admin: Any, name: str) -> bool:
    return not await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name)
