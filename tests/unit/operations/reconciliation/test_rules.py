"""The rules by themselves: facts in, findings out."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

import pytest

from operations.reconciliation.facts import Facts
from operations.reconciliation.findings import ABOUT, Finding, Kind, Repair
from operations.reconciliation.reconciler import limits_of
from operations.reconciliation.rules import findings_in
from orderflow.domain.orders import OrderStatus
from orderflow.domain.payments import PaymentStatus
from orderflow.gateways.protocol import MoneyFact
from orderflow.settings import Settings
from orderflow.store.handovers import PendingHandover
from orderflow.store.reconciliation import OrderFact, PaymentFact, ReservationFact
from orderflow.temporal.runs import RunFact
from support.paths import ROOT

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIMITS = limits_of(Settings())
ORDER = uuid4()
Fact = TypeVar("Fact")


def judged(
    order: str | None,
    payment: str | None = None,
    reservation: str | None = None,
    run: RunFact | None = None,
    money: str | None = None,
    *,
    pending_ship: str | None = None,
    handover: PendingHandover | None = None,
    age: timedelta = timedelta(minutes=2),
) -> list[Finding]:
    """What is found of one order, all of whose parts changed ``age`` ago."""
    at = NOW - age
    run = run or RunFact("missing")
    facts = Facts(
        now=NOW,
        orders=_one(order and OrderFact(ORDER, order, 3, at, at, pending_ship, at if pending_ship else None)),
        payments=_one(payment and PaymentFact(ORDER, payment, 1, at, at)),
        reservations=_one(reservation and ReservationFact(ORDER, reservation, 1, at)),
        runs={ORDER: replace(run, since=at)},
        money=_one(money and MoneyFact(ORDER, money, 300, "USD", at)),  # type: ignore[arg-type]
        handovers=_one(handover),
    )
    return findings_in(facts, LIMITS)


def _one(fact: Fact | Literal[""] | None) -> dict[UUID, Fact]:
    return {ORDER: fact} if fact else {}


RUNNING = {status.value: RunFact("running", status=status) for status in OrderStatus}
TERMINATED = RunFact("closed", ended="TERMINATED")
COMPLETED = RunFact("closed", ended="COMPLETED")
FORGOTTEN = RunFact("missing")
ENDED = (TERMINATED, COMPLETED, FORGOTTEN)


def waiting(since: timedelta = timedelta(minutes=2), refused: str | None = None) -> PendingHandover:
    return PendingHandover("approve", NOW - since, NOW, 3, refused)


#: What every order looks like that is where it should be.
SOUND = [
    ("DRAFT", None, None, FORGOTTEN, None),
    ("APPROVED", None, None, RUNNING["APPROVED"], None),
    ("APPROVED", "AUTHORIZED", None, RUNNING["APPROVED"], "authorized"),
    ("FULFILLING", "AUTHORIZED", "RESERVED", RUNNING["FULFILLING"], "authorized"),
    ("SHIPPED", "CAPTURED", None, COMPLETED, "captured"),
    ("SHIPPED", "CAPTURED", None, FORGOTTEN, "captured"),
    ("COMPLETED", "CAPTURED", None, COMPLETED, "captured"),
    ("CANCELLED", "VOIDED", None, COMPLETED, None),
    ("CANCELLED", "DECLINED", None, COMPLETED, None),
    ("CANCELLED", None, None, COMPLETED, None),
    ("CANCELLED", None, None, FORGOTTEN, None),
]


@pytest.mark.parametrize("facts", SOUND)
def test_a_sound_order_is_never_found(facts: tuple[str, ...]) -> None:
    assert judged(*facts) == []  # type: ignore[arg-type]


def test_nothing_that_moved_a_moment_ago_is_found() -> None:
    """Whatever stands together: every combination, of which there are 2268."""
    found = [(facts, findings) for facts in every() if (findings := judged(*facts, age=timedelta(seconds=59)))]
    assert found == []


def every() -> Iterator[Any]:
    return product(
        [*OrderStatus, None],
        [*PaymentStatus, None],
        ("RESERVED", None),
        [*RUNNING.values(), *ENDED],
        ("authorized", "captured", None),
    )


def test_a_look_is_never_asked_for_where_one_is_on_its_way_or_where_there_is_no_row() -> None:
    def looks(facts: Any, handover: PendingHandover | None) -> set[Kind]:
        return {f.kind for f in judged(*facts, handover=handover) if f.repair is Repair.LOOK}

    assert [facts for facts in every() if looks(facts, waiting())] == []
    assert [facts for facts in every() if facts[0] is None and looks(facts, None)] == []


def test_whatever_needs_its_workflow_and_has_none_is_looked_at() -> None:
    """Judged by rows: Temporal may have ended the run as it should, or not as it should, or forgotten it."""

    def needs_a_look(order: str | None, payment: str | None, held: str | None, _: RunFact, money: str | None) -> bool:
        match order:
            case "APPROVED" | "FULFILLING":
                return True
            case "CANCELLED":
                return (
                    payment in ("AUTHORIZED", "VOIDING") or held is not None or (payment is None and money is not None)
                )
            case "SHIPPED" | "COMPLETED":
                return held is not None
        return False

    missed = [
        facts
        for facts in every()
        if facts[3] in ENDED
        and needs_a_look(*facts)
        and not any(finding.repair is Repair.LOOK for finding in judged(*facts))
    ]
    assert missed == []


def test_a_shipped_order_whose_workflow_waits_for_its_stock_is_reported_only() -> None:
    run = replace(RUNNING["SHIPPED"], busy=("commit",))
    found = judged("SHIPPED", "CAPTURED", "RESERVED", run, "captured")
    assert [(finding.kind, finding.repair, finding.why_not) for finding in found] == [
        (Kind.WORKFLOW_LEFT_OPEN, None, "under way: commit"),
        (Kind.SHIPPED_NOT_COMMITTED, None, "the order's workflow runs and repeats it by itself"),
    ]


def test_a_shipped_order_waits_for_its_complete_without_a_workflow() -> None:
    [finding] = judged("SHIPPED", "CAPTURED", None, COMPLETED, "captured", age=LIMITS.waiting + timedelta(minutes=2))
    assert (finding.kind, finding.evidence["waits_for"]) == (Kind.WAITS_LONG, "its complete")


def test_a_ship_without_a_workflow_is_found_with_its_id() -> None:
    [finding] = judged("FULFILLING", "AUTHORIZED", "RESERVED", FORGOTTEN, "authorized", pending_ship="c:ship")
    assert (finding.kind, finding.repair) == (Kind.WORKFLOW_GONE, Repair.LOOK)
    assert finding.evidence["pending_ship"] == "c:ship"


@pytest.mark.parametrize(
    ("handover", "found"),
    [
        (waiting(timedelta(minutes=14)), None),
        (waiting(timedelta(minutes=16)), "Temporal is told again by itself"),
        (waiting(timedelta(minutes=2), "too large"), "Temporal refuses it: too large"),
        (waiting(timedelta(seconds=59), "too large"), None),
    ],
)
def test_a_handover_that_waits_long_or_is_refused_is_reported(handover: PendingHandover, found: str | None) -> None:
    findings = judged("APPROVED", run=RunFact("missing"), handover=handover, age=timedelta(minutes=20))
    assert [(f.kind, f.repair, f.why_not) for f in findings] == ([(Kind.HANDOVER_WAITS, None, found)] if found else [])
    for finding in findings:
        assert finding.evidence == {"order": "APPROVED v3", "workflow": "missing", "handover": "approve", "attempts": 3}


@pytest.mark.parametrize(
    ("facts", "kind", "repair"),
    [
        (("FULFILLING", None, None, replace(COMPLETED, status="SHIPPED")), Kind.ROW_BEHIND_WORKFLOW, None),
        (("APPROVED", None, None, TERMINATED), Kind.WORKFLOW_GONE, Repair.LOOK),
        (("SHIPPED", "CAPTURED", "RESERVED", FORGOTTEN, "captured"), Kind.SHIPPED_NOT_COMMITTED, Repair.LOOK),
        (("COMPLETED", "CAPTURED", "RESERVED", COMPLETED, "captured"), Kind.SHIPPED_NOT_COMMITTED, Repair.LOOK),
        (("CANCELLED", "VOIDING", None, FORGOTTEN, "authorized"), Kind.VOIDING_LONG, Repair.LOOK),
        (("CANCELLED", None, None, FORGOTTEN, "authorized"), Kind.MONEY_WITHOUT_PAYMENT, Repair.LOOK),
        (("CANCELLED", None, "RESERVED", FORGOTTEN), Kind.RESERVATION_WITHOUT_ORDER, Repair.LOOK),
        (("APPROVED", None, None, RUNNING["FULFILLING"]), Kind.ROW_BEHIND_WORKFLOW, None),
        (("FULFILLING", None, None, RUNNING["APPROVED"]), Kind.ROW_AHEAD_OF_WORKFLOW, Repair.LOOK),
        (("SHIPPED", "CAPTURED", None, replace(RUNNING["SHIPPED"], busy=())), Kind.WORKFLOW_LEFT_OPEN, Repair.LOOK),
        (("CANCELLED", "CAPTURED", None, COMPLETED, "captured"), Kind.CAPTURED_NOT_SHIPPED, None),
        (("FULFILLING", "CAPTURED", None, RUNNING["FULFILLING"], "captured"), Kind.CAPTURED_NOT_SHIPPED, None),
        (("COMPLETED", "CAPTURED", None, COMPLETED, "authorized"), Kind.MONEY_AGAINST_PAYMENT, None),
        (("CANCELLED", "DECLINED", None, COMPLETED, "authorized"), Kind.MONEY_AGAINST_PAYMENT, Repair.VOID_AT_GATEWAY),
        (("CANCELLED", "VOIDED", None, COMPLETED, "captured"), Kind.MONEY_AGAINST_PAYMENT, Repair.VOID_AT_GATEWAY),
        (("APPROVED", None, None, RUNNING["APPROVED"], "authorized"), Kind.MONEY_WITHOUT_PAYMENT, None),
    ],
)
def test_what_contradicts_itself_is_found(facts: tuple[str, ...], kind: Kind, repair: Repair | None) -> None:
    [finding] = judged(*facts)  # type: ignore[arg-type]
    assert (finding.kind, finding.repair) == (kind, repair)
    assert finding.since == NOW - timedelta(minutes=2)
    assert UUID(finding.subject) == finding.order_id == ORDER
    assert bool(finding.why_not) == (repair is None)


def test_every_kind_is_explained_in_the_code_and_on_its_page() -> None:
    assert set(ABOUT) == set(Kind)
    page = (ROOT / "docs" / "reconciliation.md").read_text(encoding="utf-8")
    for kind, about in ABOUT.items():
        assert f"| `{kind}` | {about.meaning} | {about.in_words} |" in page
