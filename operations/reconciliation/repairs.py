"""The safe repairs of reconciliation. Each is recorded with its reason before it happens, and harmless when repeated.

The record is a row in the orders' ``commands`` with an id ``r:<repair>:<kind>:<what it was found on>``: a command that
changed nothing in the order's row, so it stands there as refused, with the reason as its detail.

There are four. Nearly everything is put right by the order's own workflow, once it looks at the row: it is told so,
and a run begins where none runs. Only what the gateway holds against our own records is undone there directly, what
is missing in an outbox is put back into it, and the tracking forgets what never happened.
"""

from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from operations.reconciliation.findings import ABOUT, Finding, Repair
from orderflow.domain.commands import Command
from orderflow.domain.errors import Problem
from orderflow.gateways.protocol import PaymentGateway
from orderflow.store.coverage import put_back
from orderflow.store.database import Database
from orderflow.store.handovers import Handovers
from orderflow.store.orders import Orders
from orderflow.store.tracked_truth import heal


class RepairFailed(Exception):
    """It cannot be repaired so. The message says why."""


class Repairs:
    """What ``orderflow reconcile --repair`` may do."""

    def __init__(
        self, orders: Database, gateway: PaymentGateway, others: Collection[Database] = (), *, tracking_group: str
    ) -> None:
        """``orders``: that database; ``others``: the other services', each with an outbox."""
        self._tracking_group = tracking_group
        self._orders = Orders(orders)
        self._handovers = Handovers(orders)
        self._gateway = gateway
        self._databases = {database.name: database for database in (orders, *others)}
        self._by_name: Final[dict[Repair, Callable[[UUID, Finding], Awaitable[None]]]] = {
            Repair.LOOK: self._look,
            Repair.VOID_AT_GATEWAY: self._void_at_gateway,
            Repair.PUT_BACK: self._put_back,
            Repair.HEAL_TRACKING: self._heal_tracking,
        }

    async def repair(self, finding: Finding) -> None:
        """Do what ``finding`` says. Raises RepairFailed and Unavailable."""
        if finding.repair is None or finding.order_id is None:
            raise RepairFailed(f"{finding.kind} is reported only")
        await self._record(finding.order_id, finding.repair, finding)
        await self._by_name[finding.repair](finding.order_id, finding)

    async def _record(self, order_id: UUID, repair: Repair, finding: Finding) -> None:
        evidence = ", ".join(f"{name} {value}" for name, value in finding.evidence.items() if value is not None)
        detail = f"{finding.kind}: {ABOUT[finding.kind].meaning} ({evidence})"
        command = Command(name=repair, id=f"r:{repair}:{finding.kind}:{_stamp(finding.since)}")
        await self._orders.note(order_id, command, Problem(slug="repaired", detail=detail, status=409))

    async def _look(self, order_id: UUID, finding: Finding) -> None:
        if not await self._handovers.look(order_id):
            raise RepairFailed("its row has gone")

    async def _void_at_gateway(self, order_id: UUID, finding: Finding) -> None:
        # A key of its own: under the first void's the gateway would only repeat what it answered then.
        key = f"{order_id}:r:void:{_stamp(finding.since)}"
        await self._gateway.void(order_id, key, correlation_id=f"reconcile:{finding.kind}")

    async def _put_back(self, order_id: UUID, finding: Finding) -> None:
        database = self._database(finding.evidence["database"])
        await put_back(database, order_id, finding.evidence["versions"])

    async def _heal_tracking(self, order_id: UUID, finding: Finding) -> None:
        source = finding.evidence["source"]
        database = self._database(source.rpartition("/")[2])
        await heal(
            self._database("orders"), database, self._tracking_group, order_id, source, finding.evidence["versions"]
        )

    def _database(self, name: str) -> Database:
        if name not in self._databases:
            raise RepairFailed(f"the {name} database is not at hand")
        return self._databases[name]


def _stamp(moment: datetime) -> str:
    """What a finding stands on: another contradiction of the same order has another."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
