"""Reconciliation: compares the three databases, Temporal and the gateway's ledger, and repairs what can be.

Two looks, a moment apart: a finding counts if both have it and nothing of it has moved between them. Together with
the age that everything in it must have, nothing that is merely under way is reported.
"""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from operations.reconciliation.cases import unclear
from operations.reconciliation.facts import Facts, Limits
from operations.reconciliation.findings import Finding, Handled, Reconcile, Repair, Report
from operations.reconciliation.repairs import RepairFailed, Repairs
from operations.reconciliation.rules import findings_in
from orderflow.domain.errors import Rejection, Unavailable
from orderflow.domain.orders import LIFECYCLE
from orderflow.gateways.protocol import GatewayLedger
from orderflow.settings import Settings
from orderflow.store import reconciliation as reads
from orderflow.store.database import Database
from orderflow.store.handovers import Handovers
from orderflow.store.tracked_truth import false_events
from orderflow.store.tracking import INVENTORY, ORDERS, PAYMENTS
from orderflow.telemetry.metrics import FINDINGS
from orderflow.telemetry.origin import about_order
from orderflow.temporal.runs import OrderRuns

#: Between the two looks.
CONFIRM_SECONDS: Final = 3.0

log = structlog.get_logger(__name__)


def limits_of(settings: Settings, older_than_seconds: float | None = None) -> Limits:
    """The settings' limits. ``older_than_seconds`` replaces the general one."""
    older_than = settings.reconcile_older_than_seconds if older_than_seconds is None else older_than_seconds
    return Limits(
        older_than=timedelta(seconds=older_than),
        stuck=timedelta(seconds=settings.reconcile_stuck_seconds),
        waiting=timedelta(hours=settings.reconcile_waiting_hours),
        authorization_age=timedelta(hours=settings.reconcile_authorization_age_hours),
        outbox=timedelta(seconds=settings.reconcile_outbox_seconds),
        window=timedelta(hours=settings.reconcile_window_hours),
    )


def _is_asked(request: Reconcile, finding: Finding) -> bool:
    return request.repair or (request.heal_tracking and finding.repair is Repair.HEAL_TRACKING)


class Reconciler:
    """Looks, judges, looks again, and repairs if it is asked to."""

    def __init__(
        self,
        settings: Settings,
        orders: Database,
        payments: Database,
        inventory: Database,
        ledger: GatewayLedger | None,
        runs: OrderRuns,
        repairs: Repairs,
        *,
        confirm_seconds: float = CONFIRM_SECONDS,
    ) -> None:
        """``ledger``: None where the gateway cannot say what it holds; that part is left out then."""
        self._settings = settings
        self._orders, self._payments, self._inventory = orders, payments, inventory
        self._ledger = ledger
        self._runs = runs
        self._repairs = repairs
        self._confirm_seconds = confirm_seconds

    async def run(self, request: Reconcile) -> Report:
        """One reconciliation. Raises Unavailable when one of the stores cannot be read: half a look tells nothing."""
        limits = limits_of(self._settings, request.older_than_seconds)
        facts = await self.look(limits)
        findings = findings_in(facts, limits)
        if findings:
            await asyncio.sleep(self._confirm_seconds)
            facts = await self.look(limits)
            before = {finding.key for finding in findings}
            findings = [finding for finding in findings_in(facts, limits) if finding.key in before]
        handled = [await self._handle(finding, _is_asked(request, finding)) for finding in findings]
        live = sum(not LIFECYCLE.is_final(order.status) for order in facts.orders.values())
        return Report(
            looked_at=facts.now,
            older_than_seconds=limits.older_than.total_seconds(),
            repair=request.repair,
            live_orders=live,
            counts=dict(Counter(finding.kind.value for finding in findings)),
            findings=tuple(handled),
        )

    async def look(self, limits: Limits) -> Facts:
        """Everything that the rules look at, read once. Raises Unavailable when any of it cannot be read."""
        now = await reads.now(self._orders)
        runs = await self._runs.running()
        orders = await reads.live_orders(self._orders)
        handovers = await Handovers(self._orders).waiting(timedelta())
        payments = await reads.open_payments(self._payments, limits.window)
        reservations = await reads.live_reservations(self._inventory)
        money = None
        if self._ledger is not None:
            money = {fact.reference: fact for fact in await self._ledger.money(now - limits.window)}
        known = runs.keys() | payments.keys() | reservations.keys() | (money or {}).keys()
        orders |= await reads.these_orders(self._orders, known - orders.keys())
        # Again, now that the others are read: a payment of this moment must not look like one that is missing.
        payments |= await reads.these_payments(self._payments, (money or {}).keys() - payments.keys())
        facts = Facts(
            now=now,
            orders=orders,
            payments=payments,
            reservations=reservations,
            runs=runs,
            money=money,
            handovers=handovers,
            stock=await reads.stock_that_differs(self._inventory),
            outbox=[fact for database in self._all() for fact in await reads.waiting_events(database, limits.outbox)],
            parked=[fact for database in self._all() for fact in await reads.parked(database)],
            stopped=[fact for database in self._all() for fact in await reads.stopped(database)],
            false=await false_events(
                self._orders,
                {ORDERS: self._orders, PAYMENTS: self._payments, INVENTORY: self._inventory},
                limits.window,
            ),
            forgotten=[fact for database in self._all() for fact in await reads.forgotten(database, limits.window)],
        )
        return await self._cleared_up(facts, limits)

    async def _cleared_up(self, facts: Facts, limits: Limits) -> Facts:
        ended, doing = unclear(facts, limits)
        runs = dict(facts.runs)
        for order_id in ended:
            runs[order_id] = await self._runs.look(order_id)
        for order_id in doing:
            runs[order_id] = await self._runs.ask(order_id, runs[order_id])
        return replace(facts, runs=runs)

    async def _handle(self, finding: Finding, repair: bool) -> Handled:
        handled = await self._repaired(finding) if repair and finding.repair else self._reported(finding)
        FINDINGS.add(finding.kind.value, handled.outcome)
        log.warning(
            "finding",
            kind=finding.kind.value,
            subject=finding.subject,
            **(about_order(finding.order_id) if finding.order_id else {}),
            since=finding.since.isoformat(),
            evidence=finding.evidence,
            repair=finding.repair and finding.repair.value,
            outcome=handled.outcome,
            detail=handled.detail,
        )
        return handled

    async def _repaired(self, finding: Finding) -> Handled:
        try:
            await self._repairs.repair(finding)
        except (RepairFailed, Rejection, Unavailable) as error:
            return Handled(finding=finding, outcome="failed", detail=str(error))
        return Handled(finding=finding, outcome="repaired")

    def _reported(self, finding: Finding) -> Handled:
        return Handled(finding=finding, outcome="reported", detail=finding.why_not or "")

    def _all(self) -> tuple[Database, ...]:
        return self._orders, self._payments, self._inventory
