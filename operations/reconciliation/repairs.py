"""The safe repairs of reconciliation. Each is recorded with its reason before it happens, and harmless when repeated.

The record is a row in the orders' ``commands`` with an id ``r:<repair>:<what it was found on>``: a command that
changed nothing in the order's row, so it stands there as refused, with the reason as its detail. What changes a row
goes through the same code, ids and events as in the workflow.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from activities.inventory import InventoryActivities
from activities.payments import PaymentActivities
from operations.reconciliation.findings import ABOUT, Finding, Repair
from orderflow.domain.commands import Command
from orderflow.domain.errors import Problem
from orderflow.domain.orders import OrderStatus, Reason, was_approved
from orderflow.gateways.protocol import PaymentGateway
from orderflow.store import reconciliation as reads
from orderflow.store.database import Database
from orderflow.store.orders import Orders
from orderflow.temporal.resets import NothingToReset, OrderResets
from orderflow.temporal.runs import OrderRuns
from workflows.steps import Carried, CloseDoor, SignalledCommand, StartOrder, StepOutcome, Trace

#: No order has this version, so a command that expects it is refused, whatever the order's status is.
_NEVER: Final = 0


class RepairFailed(Exception):
    """It cannot be repaired so. The message says why."""


class Repairs:
    """What ``orderflow reconcile --repair`` may do."""

    def __init__(
        self,
        database: Database,
        payments_database: Database,
        payments: PaymentActivities,
        inventory: InventoryActivities,
        gateway: PaymentGateway,
        runs: OrderRuns,
        draft_ttl: timedelta,
    ) -> None:
        """``database``: the orders one."""
        self._database = database
        self._payments_database = payments_database
        self._orders = Orders(database)
        self._payments = payments
        self._inventory = inventory
        self._gateway = gateway
        self._runs = runs
        self._resets = OrderResets(runs)
        self._draft_ttl = draft_ttl
        self._by_name: Final[dict[Repair, Callable[[UUID, Finding], Awaitable[None]]]] = {
            Repair.RESTART: self._restart,
            Repair.NUDGE: self._nudge,
            Repair.VOID: self._void,
            Repair.VOID_AT_GATEWAY: self._void_at_gateway,
            Repair.RELEASE: self._release,
            Repair.COMMIT: self._commit,
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
        command = Command(name=repair, id=f"r:{repair}:{_stamp(finding.since)}")
        await self._orders.refuse(order_id, command, Problem(slug="repaired", detail=detail, status=409))

    # --- The workflow ---

    async def _restart(self, order_id: UUID, finding: Finding) -> None:
        reason = _reason(finding)
        try:
            # Should the row have moved meanwhile, its last task finds that out; else ROW_AHEAD_OF_WORKFLOW does.
            await self._resets.reset(order_id, reason)
        except NothingToReset as error:
            placed = await reads.placed_order(self._database, order_id)
            if placed is None:
                raise RepairFailed(f"{error}, and there is no row") from error
            await self._start_anew(placed, finding, reason)

    async def _start_anew(self, placed: reads.PlacedOrder, finding: Finding, reason: str) -> None:
        """A new run under the same id, which adopts the row.

        Its payment token went with the old run. A payment that has a row needs none: the recorded answer is given
        again. One that has not can never be made.
        """
        order_id, status, version = placed.order.order_id, placed.status, placed.version
        if placed.ship_id is not None and not placed.ship_id.startswith("c:"):
            raise RepairFailed(f"the ship {placed.ship_id} was sent without an id: nobody can send it again")
        paid = order_id in await reads.these_payments(self._payments_database, [order_id])
        if status == OrderStatus.DRAFT or (status == OrderStatus.APPROVED and not paid):
            note = "Its workflow is gone, and the payment token with it: it can never be paid."
            data = {"reason": Reason.OPERATOR, "note": note}
            command = Command(name="cancel", id="r:cancel", data=data, correlation_id=reason)
            outcome = await self._orders.move(order_id, command)
            if outcome.row_status is None or outcome.row_version is None:
                raise RepairFailed("its row has gone")
            status, version = outcome.row_status, outcome.row_version
        start = StartOrder(
            order=placed.order,
            payment_token="",
            request_hash=placed.request_hash,
            correlation_id=reason,
            carried=Carried(
                # Nothing is adopted yet (version 0), and no status that would end the run before it looked.
                status=OrderStatus.APPROVED if status == OrderStatus.CANCELLED else status,
                version=0,
                expires_at=placed.created_at + self._draft_ttl,
                raw_signals=placed.raw_signals,
                was_approved=was_approved(status, version),
            ),
        )
        await self._runs.start_again(
            placed.order, start, placed.request_hash, status=status, reason=reason, first=_look(version, finding)
        )
        if placed.ship_id is not None:
            # Its capture is under way: sent again, the ship is found pending, and comes to its end.
            ship = SignalledCommand(command_id=placed.ship_id, request_hash=placed.ship_hash, correlation_id=reason)
            await self._runs.signal(order_id, "ship", ship)

    async def _nudge(self, order_id: UUID, finding: Finding) -> None:
        placed = await reads.placed_order(self._database, order_id)
        if placed is not None:
            await self._runs.signal(order_id, "complete", _look(placed.version, finding))

    # --- Doors and money ---

    async def _void(self, order_id: UUID, finding: Finding) -> None:
        _stands(await self._payments.void_payment(_close(order_id, finding)))

    async def _void_at_gateway(self, order_id: UUID, finding: Finding) -> None:
        # A key of its own: under the first void's the gateway would only repeat what it answered then.
        key = f"{order_id}:r:void:{_stamp(finding.since)}"
        await self._gateway.void(order_id, key, correlation_id=_reason(finding))

    async def _release(self, order_id: UUID, finding: Finding) -> None:
        _stands(await self._inventory.release_inventory(_close(order_id, finding)))

    async def _commit(self, order_id: UUID, finding: Finding) -> None:
        _stands(await self._inventory.commit_inventory(_close(order_id, finding)))


def _look(version: int, finding: Finding) -> SignalledCommand:
    """A command that is refused for certain, and whose answer tells the workflow where the row stands."""
    return SignalledCommand(
        command_id=f"c:reconcile.{version}", expected_version=_NEVER, correlation_id=_reason(finding)
    )


def _close(order_id: UUID, finding: Finding) -> CloseDoor:
    return CloseDoor(order_id=order_id, trace=Trace(correlation_id=_reason(finding)))


def _stands(outcome: StepOutcome) -> None:
    if outcome.state != "ok":
        raise RepairFailed(outcome.detail or outcome.state)


def _reason(finding: Finding) -> str:
    return f"reconcile:{finding.kind}"


def _stamp(moment: datetime) -> str:
    """What a finding stands on: another contradiction of the same order has another."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
