"""Workers, stores and a scripted gateway in this process, against real servers: orders that can be watched closely."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from orderflow.domain.orders import Order
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.statements import Statement
from orderflow.store.stock import StockCommand, StockKeeper
from orderflow.temporal.names import ORDERS_QUEUE, workflow_id
from support.orders import a_start, an_order
from support.scripted_gateway import ScriptedGateway
from support.stack import Databases
from support.waiting import until
from workers import inventory as inventory_worker
from workers import orders as orders_worker
from workers import payments as payments_worker
from workflows.order_workflow import OrderWorkflow
from workflows.steps import SignalledCommand

_EVENTS = Statement(
    "test.events",
    "Reads an order's events.",
    "SELECT type, status, data, version FROM events WHERE order_id = $order_id ORDER BY version",
)
_COMMANDS = Statement(
    "test.commands",
    "Reads an order's commands.",
    "SELECT command_id, name, version, refusal FROM commands WHERE order_id = $order_id ORDER BY recorded_at",
)
_STOCK = Statement("test.stock", "Reads a SKU's stock.", "SELECT on_hand, reserved FROM stock WHERE sku = $sku")

Handle = WorkflowHandle[Any, Any]


class World:
    """What a test sees and moves."""

    def __init__(self, client: Client, databases: dict[str, Database], settings: Settings) -> None:
        self.client = client
        self.orders, self.payments, self.inventory = (databases[s] for s in ("orders", "payments", "inventory"))
        self.settings = settings
        self.gateway = ScriptedGateway()
        self._workers: dict[str, Worker] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    # --- Workers ---

    async def start_worker(self, service: str) -> None:
        """Start the worker of ``service``."""
        make: dict[str, Callable[[], Worker]] = {
            "orders": lambda: orders_worker.make(self.client, self.settings, self.orders),
            "payments": lambda: payments_worker.make(self.client, self.settings, self.payments, self.gateway),
            "inventory": lambda: inventory_worker.make(self.client, self.settings, self.inventory),
        }
        worker = make[service]()
        self._workers[service] = worker
        self._running[service] = asyncio.create_task(worker.run())

    async def stop_worker(self, service: str) -> None:
        """Stop the worker of ``service``, letting it finish what it has begun."""
        await self._workers.pop(service).shutdown()
        await self._running.pop(service)

    async def stop_all(self) -> None:
        """Stop every worker."""
        await asyncio.gather(*(self.stop_worker(service) for service in list(self._workers)))

    # --- Orders ---

    async def stock(self, **on_hand: int) -> None:
        """Put SKUs on hand."""
        for sku, number in on_hand.items():
            await StockKeeper(self.inventory).set(
                StockCommand(sku=sku, id=f"c:{uuid4()}", request_hash="0" * 64), number
            )

    async def on_hand(self, sku: str) -> tuple[int, int]:
        """(on hand, reserved)."""
        row = await self.inventory.one(_STOCK, {"sku": sku})
        assert row is not None
        return row["on_hand"], row["reserved"]

    async def place(self, order: Order | None = None, token: str = "tok_ok", *, run_id: str = "") -> Handle:
        """Start an order's workflow as the API does. ``run_id``: another workflow of the same order."""
        order = order or an_order(("bread", 2, 150))
        return await self.client.start_workflow(
            OrderWorkflow.run,
            a_start(order, token),
            id=workflow_id(order.order_id) + run_id,
            task_queue=ORDERS_QUEUE,
        )

    async def send(self, handle: Handle, name: str, command_id: str | None = None, **fields: Any) -> str:
        """Signal a command; its id."""
        command_id = command_id or f"c:{name}"
        if name == "cancel":
            fields.setdefault("data", {"reason": "customer"})
        await handle.signal(name, SignalledCommand(command_id=command_id, request_hash="1" * 64, **fields))
        return command_id

    async def ask(self, handle: Handle, name: str, command_id: str | None = None, **fields: Any) -> dict[str, Any]:
        """Signal a command and wait for what came of it: its row in ``commands``."""
        return await self.outcome(handle, await self.send(handle, name, command_id, **fields))

    async def outcome(self, handle: Handle, command_id: str) -> dict[str, Any]:
        """Wait until a command is done or refused."""
        found: dict[str, Any] = {}

        async def recorded() -> bool:
            found.update((await self.commands(handle)).get(command_id, {}))
            return found.get("version") is not None or found.get("refusal") is not None

        await until(recorded)
        return found

    async def reaches(self, handle: Handle, status: str) -> None:
        """Wait until the order has ``status``."""

        async def there() -> bool:
            events = await self.events(handle)
            return bool(events) and events[-1]["status"] == status

        await until(there)

    async def gateway_is_asked(self, operation: str) -> None:
        """Wait until a call of ``operation`` has arrived at the gateway."""

        async def arrived() -> bool:
            return any(name == operation for name, _ in self.gateway.calls)

        await until(arrived)

    async def commands(self, handle: Handle) -> dict[str, dict[str, Any]]:
        """What is recorded of the order's commands, by id."""
        rows = await self.orders.all(_COMMANDS, {"order_id": order_id(handle)})
        return {row["command_id"]: dict(row) for row in rows}

    async def events(self, handle: Handle, service: str = "orders") -> list[dict[str, Any]]:
        """The order's events in a service."""
        database: Database = getattr(self, service)
        return [dict(row) for row in await database.all(_EVENTS, {"order_id": order_id(handle)})]

    async def statuses(self, handle: Handle, service: str = "orders") -> list[str]:
        """The statuses that the order went through in a service."""
        return [event["status"] for event in await self.events(handle, service)]


def order_id(handle: Handle) -> UUID:
    """The order of a workflow."""
    return UUID(handle.id.removeprefix("order-")[:36])


@asynccontextmanager
async def a_world(client: Client, databases: Databases, settings: Settings | None = None) -> AsyncIterator[World]:
    """A world on fresh databases, with all three workers running."""
    async with AsyncExitStack() as stack:
        opened = {
            service: await stack.enter_async_context(Database(service, url))
            for service, url in (
                ("orders", databases.orders),
                ("payments", databases.payments),
                ("inventory", databases.inventory),
            )
        }
        world = World(client, opened, settings or Settings(worker_graceful_shutdown_seconds=1))
        for service in opened:
            await world.start_worker(service)
        try:
            yield world
        finally:
            await world.stop_all()
