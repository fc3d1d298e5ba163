"""What reconciliation may find, and what it may do about it: plain data.

A finding is a contradiction between facts that has stood for a while. ``ABOUT`` is the list of kinds; the report and
``docs/reconciliation.md`` follow it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import Field

from orderflow.domain.model import Model


class Kind(StrEnum):
    """What can be wrong, the workflow first; ``ABOUT`` explains each."""

    WORKFLOW_GONE = "workflow_gone"
    HANDOVER_WAITS = "handover_waits"
    WORKFLOW_LEFT_OPEN = "workflow_left_open"
    ROW_AHEAD_OF_WORKFLOW = "row_ahead_of_workflow"
    ROW_BEHIND_WORKFLOW = "row_behind_workflow"
    CAPTURED_NOT_SHIPPED = "captured_not_shipped"
    VOIDING_LONG = "voiding_long"
    AUTHORIZATION_WITHOUT_ORDER = "authorization_without_order"
    SHIPPED_NOT_CAPTURED = "shipped_not_captured"
    AUTHORIZATION_LAPSING = "authorization_lapsing"
    MONEY_WITHOUT_PAYMENT = "money_without_payment"
    MONEY_AGAINST_PAYMENT = "money_against_payment"
    HOLD_MISSING = "hold_missing"
    RESERVATION_WITHOUT_ORDER = "reservation_without_order"
    SHIPPED_NOT_COMMITTED = "shipped_not_committed"
    STOCK_DIFFERS = "stock_differs"
    RESERVED_DIFFERS = "reserved_differs"
    WAITS_LONG = "waits_long"
    OUTBOX_WAITS = "outbox_waits"
    ORDER_PARKED = "order_parked"
    PARTITION_STOPPED = "partition_stopped"
    EVENTS_FORGOTTEN = "events_forgotten"
    TRACKED_FALSELY = "tracked_falsely"


class Repair(StrEnum):
    """What may be done about it. Each can be done any number of times."""

    LOOK = "look"
    VOID_AT_GATEWAY = "void_at_gateway"
    PUT_BACK = "put_back"
    HEAL_TRACKING = "heal_tracking"


@dataclass(frozen=True, slots=True)
class About:
    """A kind in words: what it means, and what is done about it.

    ``report_only``: no repair is safe; ``remedy`` says why, or what people do.
    """

    meaning: str
    remedy: str
    report_only: bool = False

    @property
    def in_words(self) -> str:
        """The remedy as a report shows it."""
        return f"Report only: {self.remedy}" if self.report_only else self.remedy


ABOUT: Final[Mapping[Kind, About]] = {
    Kind.WORKFLOW_GONE: About(
        "The order is APPROVED or FULFILLING, and no workflow runs it.",
        "look: a new run begins, reads the row, and goes on from it.",
    ),
    Kind.HANDOVER_WAITS: About(
        "Temporal must look at the order, and has not been told for longer than a setting, or refuses to be told.",
        "the dispatcher in the orders workers tells it again and again: see whether they run, and what Temporal says.",
        report_only=True,
    ),
    Kind.WORKFLOW_LEFT_OPEN: About(
        "The order is SHIPPED or final, which needs no workflow any more, and its workflow still runs.",
        "look, if the workflow has nothing under way: it reads the row and ends. Nothing is done while a step runs: "
        "that service is away or slow, and the step is repeated by itself.",
    ),
    Kind.ROW_AHEAD_OF_WORKFLOW: About(
        "The order's row moved on and its workflow did not notice.",
        "look: the workflow reads the row.",
    ),
    Kind.ROW_BEHIND_WORKFLOW: About(
        "The workflow saw a later status than the row has: the database lost a commit.",
        "what was lost cannot be made up. Compare with the stream and restore it.",
        report_only=True,
    ),
    Kind.CAPTURED_NOT_SHIPPED: About(
        "The money was taken and the order is not SHIPPED.",
        "look, if its workflow is gone: it goes forward to SHIPPED. Nothing is done where the workflow runs (it is at "
        "it) and for a CANCELLED order: whether to refund is for people to say.",
    ),
    Kind.VOIDING_LONG: About(
        "A void was begun and the gateway has not confirmed it.",
        "look, if the workflow is gone. Nothing is done while it runs (it repeats the void by itself), nor without a "
        "row.",
    ),
    Kind.AUTHORIZATION_WITHOUT_ORDER: About(
        "Money is held for an order that is CANCELLED or not there, and no workflow gives it back.",
        "look, if the order is CANCELLED. Nothing is done without a row: nothing says that it was cancelled.",
    ),
    Kind.SHIPPED_NOT_CAPTURED: About(
        "The order is SHIPPED or COMPLETED and its payment is only held.",
        "no command of a customer stands behind a capture.",
        report_only=True,
    ),
    Kind.AUTHORIZATION_LAPSING: About(
        "An authorization is so old that the card's issuer may soon drop it.",
        "ship or cancel the order; a new authorization needs the customer.",
        report_only=True,
    ),
    Kind.MONEY_WITHOUT_PAYMENT: About(
        "The gateway holds or took money for a reference that has no payments row.",
        "look, if the order is CANCELLED and its workflow is gone. Nothing is done where the order lives (its workflow "
        "records the answer when it repeats the call) and for a reference that is no order of ours.",
    ),
    Kind.MONEY_AGAINST_PAYMENT: About(
        "The gateway holds or took money although the payments row says VOIDED or DECLINED, or the two disagree "
        "about the capture.",
        "void_at_gateway, under a new idempotency key, where the row says VOIDED or DECLINED. Nothing is done "
        "otherwise.",
    ),
    Kind.HOLD_MISSING: About(
        "The payments row says AUTHORIZED and the gateway holds nothing: it lapsed, or somebody released it there.",
        "the capture will be refused; a new authorization needs the customer.",
        report_only=True,
    ),
    Kind.RESERVATION_WITHOUT_ORDER: About(
        "Stock is reserved for an order that is CANCELLED or not there, and no workflow gives it back.",
        "look, if the order is CANCELLED. Nothing is done without a row: nothing says that it was cancelled.",
    ),
    Kind.SHIPPED_NOT_COMMITTED: About(
        "The order is SHIPPED or COMPLETED and its stock is still only reserved.",
        "look, if the order's workflow has ended. Nothing is done while it runs: it repeats the commit by itself.",
    ),
    Kind.STOCK_DIFFERS: About(
        "A SKU's stock on hand is not the sum of its movements.",
        "only a count in the warehouse tells which of the two is right.",
        report_only=True,
    ),
    Kind.RESERVED_DIFFERS: About(
        "A SKU's reserved stock is not the sum of its live reservations.",
        "the write rule cannot cause it, so somebody wrote around it; find out who first.",
        report_only=True,
    ),
    Kind.WAITS_LONG: About(
        "An order has waited longer than a setting where it stands.",
        "it goes on by itself when what it waits for is back, or somebody ships or completes it.",
        report_only=True,
    ),
    Kind.OUTBOX_WAITS: About(
        "Events have waited longer than a setting for the relay.",
        "start the relay, or see why Kafka does not take them; it catches up by itself.",
        report_only=True,
    ),
    Kind.ORDER_PARKED: About(
        "Kafka refuses an event of an order even when it is sent alone; its later events wait.",
        "see the error, change the topic's limits, and unpark the order.",
        report_only=True,
    ),
    Kind.PARTITION_STOPPED: About(
        "The topic lacks events that were published: Kafka lost them, or the topic was made anew. Nothing is sent to "
        "that partition.",
        "somebody must have seen what happened to the topic; then `orderflow outbox republish --stopped`.",
        report_only=True,
    ),
    Kind.EVENTS_FORGOTTEN: About(
        "Events of an order are neither published nor in the outbox: somebody deleted them there.",
        "put_back: they wait in the outbox again, ahead of the order's later ones, and the relay sends them.",
    ),
    Kind.TRACKED_FALSELY: About(
        "The tracking shows events of an order that its service's database has not, or has otherwise: somebody else "
        "wrote them to the topic, or the database lost them.",
        "heal_tracking: the tracking forgets them and shows what the database has. A scheduled reconciliation does it "
        "always. Find out who may write to the topic; compare with the stream if the database was restored.",
    ),
}


class Finding(Model):
    """One contradiction. ``subject``: the order's id, or a SKU, or a database. ``repair`` is None: report only."""

    kind: Kind
    subject: str
    order_id: UUID | None = None
    since: datetime
    evidence: dict[str, Any] = Field(default_factory=dict)
    repair: Repair | None = None
    why_not: str | None = None

    @property
    def key(self) -> tuple[str, str, datetime]:
        """The same in two looks: the same contradiction, and nothing of it has moved meanwhile."""
        return self.kind, self.subject, self.since


class Handled(Model):
    """A finding and what was done: repaired, failed (``detail`` says why; try again), or reported."""

    finding: Finding
    outcome: Literal["repaired", "failed", "reported"]
    detail: str = ""


class Reconcile(Model):
    """What a reconciliation is asked to do. ``older_than_seconds``: instead of the setting.

    ``heal_tracking``: heal the tracking also where nothing else is to be repaired: it is only a picture of the orders.
    """

    repair: bool = False
    heal_tracking: bool = False
    older_than_seconds: float | None = None


class Report(Model):
    """What one reconciliation found. ``counts`` by kind, of all; ``findings``: at most as many as the caller wants."""

    looked_at: datetime
    older_than_seconds: float
    repair: bool
    live_orders: int
    counts: dict[str, int]
    findings: tuple[Handled, ...]

    @property
    def left(self) -> int:
        """How many findings are not repaired (among those listed)."""
        return sum(handled.outcome != "repaired" for handled in self.findings)
