"""Workers, stores and a scripted gateway in this process, against real servers: orders that can be watched closely."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.inventory import InventoryActivities
from activities.payments import PaymentActivities
from orderflow.domain.access import EVERYONE
from orderflow.domain.commands import Command
from orderflow.domain.orders import Order
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.handovers import Handovers
from orderflow.store.orders import Accepted, Orders
from orderflow.store.payments import Payments
from orderflow.store.reservations import Reservations
from orderflow.store.statements import Statement
from orderflow.store.stock import StockCommand, StockKeeper
from orderflow.temporal.names import workflow_id
from orderflow.temporal.runs import OrderRuns
from support.orders import an_order
from support.scripted_gateway import ScriptedGateway
from support.stack import Databases
from support.tokens import opener, seal
from support.waiting import until
from workers import inventory as inventory_worker
from workers import orders as orders_worker
from workers import payments as payments_worker

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
        self.payment_steps = PaymentActivities(Payments(self.payments), self.gateway, opener())
        self.inventory_steps = InventoryActivities(Reservations(self.inventory))
        self.handovers = Handovers(self.orders)
        self.runs = OrderRuns.of(client)
        #: The roles that the process of the orders worker has too: their steps are taken near.
        self.beside_orders = {"payments", "inventory"}
        self._orders = Orders(self.orders)
        self._workers: dict[str, Worker] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    # --- Workers ---

    async def start_worker(self, service: str) -> None:
        """Start the worker of ``service``."""
        make: dict[str, Callable[[], Worker]] = {
            "orders": lambda: orders_worker.make(
                self.client,
                self.settings,
                self.orders,
                self.payment_steps if "payments" in self.beside_orders else None,
                self.inventory_steps if "inventory" in self.beside_orders else None,
            ),
            "payments": lambda: payments_worker.make(self.client, self.settings, self.payment_steps),
            "inventory": lambda: inventory_worker.make(self.client, self.settings, self.inventory_steps),
        }
        worker = make[service]()
        self._workers[service] = worker
        self._running[service] = asyncio.create_task(worker.run())

    async def stop_worker(self, service: str) -> None:
        """Stop the worker of ``service``, letting it finish what it has begun."""
        await self._workers.pop(service).shutdown()
        await self._running.pop(service)

    async def kill_worker(self, service: str) -> None:
        """End the worker of ``service`` in the middle of what it does: what it has begun is not reported."""
        del self._workers[service]
        running = self._running.pop(service)
        running.cancel()
        await asyncio.wait([running])

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

    async def place(self, order: Order | None = None, token: str = "tok_ok") -> Handle:
        """Make a DRAFT, as the API does. Its workflow begins with the approve."""
        order = order or an_order(("bread", 2, 150))
        command = Command(name="place", id="w:place", request_hash="0" * 64, correlation_id="test")
        await self._orders.place(order, command, seal(order.order_id, token))
        return self.client.get_workflow_handle(workflow_id(order.order_id))

    async def accept(
        self, handle: Handle, name: str, command_id: str | None = None, *, tells: bool = True, **fields: Any
    ) -> Accepted:
        """Carry a command out, as the API does, and tell Temporal of it (``tells``)."""
        data = fields.pop("data", {"reason": "customer"} if name == "cancel" else {})
        command = Command(
            name=name, id=command_id or f"c:{name}", request_hash="1" * 64, correlation_id="test", data=data, **fields
        )
        act = self._orders.accept_ship if name == "ship" else self._orders.carry_out
        accepted = await act(order_id(handle), command, EVERYONE)
        if tells and accepted.handover is not None:
            await self.runs.tell(accepted.handover)
            await self.handovers.told([accepted.handover])
        return accepted

    async def send(self, handle: Handle, name: str, command_id: str | None = None, **fields: Any) -> str:
        """Carry a command out; its id. A ship is pending then."""
        await self.accept(handle, name, command_id, **fields)
        return command_id or f"c:{name}"

    async def ask(self, handle: Handle, name: str, command_id: str | None = None, **fields: Any) -> dict[str, Any]:
        """Carry a command out, and wait for what comes of a ship: ``version``, or the ``refusal`` as data."""
        accepted = await self.accept(handle, name, command_id, **fields)
        if accepted.outcome.state == "pending":
            return await self.outcome(handle, command_id or f"c:{name}")
        refusal = accepted.outcome.refusal
        return {"version": accepted.outcome.version, "refusal": refusal and refusal.to_data()}

    async def look(self, handle: Handle) -> None:
        """Have the workflow look at its row, whatever it was told before."""
        await self.handovers.look(order_id(handle))
        await self.tell_all()

    async def tell_all(self) -> None:
        """What a dispatcher would do now."""
        for handover in await self.handovers.claim(100):
            await self.runs.tell(handover)
            await self.handovers.told([handover])

    async def expire(self, ttl: timedelta = timedelta()) -> int:
        """What a sweep would do now; how many drafts it cancelled."""
        return await self._orders.expire(ttl, 100)

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
