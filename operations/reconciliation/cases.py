"""All that the stores say of one order, laid side by side for the rules of reconciliation."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from operations.reconciliation.facts import Facts, Limits
from operations.reconciliation.findings import Finding, Kind, Repair
from orderflow.domain.orders import LIFECYCLE, ORCHESTRATED, OrderStatus
from orderflow.domain.payments import PaymentStatus
from orderflow.gateways.protocol import MoneyFact
from orderflow.store.handovers import PendingHandover
from orderflow.store.reconciliation import OrderFact, PaymentFact, ReservationFact
from orderflow.temporal.runs import RunFact

_MISSING: Final = RunFact("missing")


@dataclass(frozen=True, slots=True)
class Case:
    """All that is known of one order, and how old it must be."""

    order_id: UUID
    order: OrderFact | None
    payment: PaymentFact | None
    reservation: ReservationFact | None
    run: RunFact
    money: MoneyFact | None
    money_is_known: bool
    #: Temporal must look at it and has not been told; None: it has been.
    handover: PendingHandover | None
    now: datetime
    limits: Limits

    @property
    def order_at(self) -> datetime | None:
        """When its row changed last."""
        return self.order.updated_at if self.order else None

    @property
    def payment_at(self) -> datetime | None:
        """The same of its payment."""
        return self.payment.updated_at if self.payment else None

    @property
    def runs(self) -> bool:
        """Whether its workflow is open."""
        return self.run.state == "running"

    @property
    def can_begin(self) -> bool:
        """Whether none is, and a run would find a row to go by: a DRAFT has no workflow."""
        return not self.runs and self.order is not None and self.order.status != OrderStatus.DRAFT

    @property
    def live(self) -> bool:
        """Whether there is a row and something can still happen to it."""
        return self.order is not None and not LIFECYCLE.is_final(self.order.status)

    @property
    def orchestrated(self) -> bool:
        """Whether its row stands where an order has a workflow."""
        return self.order is not None and self.order.status in ORCHESTRATED

    @property
    def is_stuck(self) -> bool:
        """Whether it has waited for its workflow for longer than a setting."""
        order = self.order
        if order is None or not (order.pending or order.status == OrderStatus.APPROVED):
            return False
        return self.stands(order.pending_since or order.updated_at, longer_than=self.limits.stuck)

    @property
    def cancelled(self) -> bool:
        """Whether its row says so."""
        return self.order is not None and self.order.status == OrderStatus.CANCELLED

    def stands(self, *moments: datetime | None, longer_than: timedelta | None = None) -> bool:
        """Whether all of them are past for long enough; a moment that is not known does not count."""
        latest = self.now - (self.limits.older_than if longer_than is None else longer_than)
        return all(moment <= latest for moment in moments if moment is not None)

    def finding(
        self,
        kind: Kind,
        *moments: datetime | None,
        repair: Repair | None = None,
        why_not: str | None = None,
        **evidence: Any,
    ) -> Finding:
        """A finding that stands since the latest of ``moments``."""
        return Finding(
            kind=kind,
            subject=str(self.order_id),
            order_id=self.order_id,
            since=max(moment for moment in moments if moment is not None),
            evidence={**self._evidence(), **evidence},
            repair=repair,
            why_not=None if repair else why_not,
        )

    def _evidence(self) -> dict[str, Any]:
        found = {
            "order": self.order and f"{self.order.status} v{self.order.version}",
            "payment": self.payment and f"{self.payment.status} v{self.payment.version}",
            "reservation": self.reservation and f"{self.reservation.status} v{self.reservation.version}",
            "workflow": self.run.ended or self.run.state,
            "workflow_status": self.run.status,
            "gateway": self.money and f"{self.money.status} {self.money.amount} {self.money.currency}",
            "handover": self.handover and self.handover.name,
        }
        return {name: value for name, value in found.items() if value is not None}


def cases(facts: Facts, limits: Limits) -> Iterator[Case]:
    """Each order that any of the stores named."""
    money = facts.money or {}
    for order_id in (
        facts.orders.keys() | facts.payments.keys() | facts.reservations.keys() | facts.runs.keys() | money.keys()
    ):
        yield Case(
            order_id,
            facts.orders.get(order_id),
            facts.payments.get(order_id),
            facts.reservations.get(order_id),
            facts.runs.get(order_id, _MISSING),
            money.get(order_id),
            facts.money is not None,
            facts.handovers.get(order_id),
            facts.now,
            limits,
        )


def unclear(facts: Facts, limits: Limits) -> tuple[set[UUID], set[UUID]]:
    """Which orders Temporal must be asked about one by one: (how the run ended, what an open run is doing).

    Normally none: a list of open runs answers for all others. It is kept apart from the runs, and may be wrong: of an
    order that is stuck it is not believed.
    """
    ended: set[UUID] = set()
    doing: set[UUID] = set()
    for case in cases(facts, limits):
        holds = case.reservation is not None or _is_open(case.payment) or _is_unexplained(case)
        order = case.order
        if case.is_stuck if case.runs else (case.orchestrated or holds):
            ended.add(case.order_id)
        elif (
            case.runs
            and order is not None
            and case.stands(order.updated_at)
            and (not case.orchestrated or case.run.status != order.status)
        ):
            doing.add(case.order_id)
    return ended, doing


def _is_unexplained(case: Case) -> bool:
    """Money at the gateway that no payment's row accounts for; what was captured is listed for days."""
    captured = case.payment is not None and case.payment.status == PaymentStatus.CAPTURED
    return case.money is not None and not (captured and case.money.status == "captured")


def _is_open(payment: PaymentFact | None) -> bool:
    return payment is not None and payment.status in (PaymentStatus.AUTHORIZED, PaymentStatus.VOIDING)
