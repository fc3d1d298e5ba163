"""The rules by themselves: facts in, findings out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Literal, TypeVar
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
    age: timedelta = timedelta(minutes=2),
) -> list[Finding]:
    """What is found of one order, all of whose parts changed ``age`` ago."""
    at = NOW - age
    run = run or RunFact("missing")
    facts = Facts(
        now=NOW,
        orders=_one(order and OrderFact(ORDER, order, 3, at, at)),
        payments=_one(payment and PaymentFact(ORDER, payment, 1, at, at)),
        reservations=_one(reservation and ReservationFact(ORDER, reservation, 1, at)),
        runs={ORDER: replace(run, since=at)},
        money=_one(money and MoneyFact(ORDER, money, 300, "USD", at)),  # type: ignore[arg-type]
    )
    return findings_in(facts, LIMITS)


def _one(fact: Fact | Literal[""] | None) -> dict[UUID, Fact]:
    return {ORDER: fact} if fact else {}


RUNNING = {status.value: RunFact("running", status=status) for status in OrderStatus}
TERMINATED = RunFact("closed", ended="TERMINATED")
COMPLETED = RunFact("closed", ended="COMPLETED")

#: What every order looks like that is where it should be.
SOUND = [
    ("DRAFT", None, None, RUNNING["DRAFT"], None),
    ("APPROVED", None, None, RUNNING["APPROVED"], None),
    ("APPROVED", "AUTHORIZED", None, RUNNING["APPROVED"], "authorized"),
    ("FULFILLING", "AUTHORIZED", "RESERVED", RUNNING["FULFILLING"], "authorized"),
    ("SHIPPED", "CAPTURED", None, RUNNING["SHIPPED"], "captured"),
    ("COMPLETED", "CAPTURED", None, COMPLETED, "captured"),
    ("CANCELLED", "VOIDED", None, COMPLETED, None),
    ("CANCELLED", "DECLINED", None, COMPLETED, None),
    ("CANCELLED", None, None, COMPLETED, None),
]


@pytest.mark.parametrize("facts", SOUND)
def test_a_sound_order_is_never_found(facts: tuple[str, ...]) -> None:
    assert judged(*facts) == []  # type: ignore[arg-type]


def test_nothing_that_moved_a_moment_ago_is_found() -> None:
    """Whatever stands together: every combination, of which there are 2268."""
    every = product(
        [*OrderStatus, None],
        [*PaymentStatus, None],
        ("RESERVED", None),
        [*RUNNING.values(), TERMINATED, COMPLETED, None],
        ("authorized", "captured", None),
    )
    found = [(facts, findings) for facts in every if (findings := judged(*facts, age=timedelta(seconds=59)))]
    assert found == []


@pytest.mark.parametrize(
    ("facts", "kind", "repair"),
    [
        (("FULFILLING", None, None, COMPLETED), Kind.ROW_BEHIND_WORKFLOW, None),
        (("APPROVED", None, None, RUNNING["FULFILLING"]), Kind.ROW_BEHIND_WORKFLOW, None),
        (("FULFILLING", None, None, RUNNING["APPROVED"]), Kind.ROW_AHEAD_OF_WORKFLOW, Repair.NUDGE),
        (("SHIPPED", "CAPTURED", "RESERVED", RUNNING["SHIPPED"], "captured"), Kind.SHIPPED_NOT_COMMITTED, None),
        (("CANCELLED", "CAPTURED", None, COMPLETED, "captured"), Kind.CAPTURED_NOT_SHIPPED, None),
        (("FULFILLING", "CAPTURED", None, RUNNING["FULFILLING"], "captured"), Kind.CAPTURED_NOT_SHIPPED, None),
        (("COMPLETED", "CAPTURED", None, COMPLETED, "authorized"), Kind.MONEY_AGAINST_PAYMENT, None),
        (("CANCELLED", "DECLINED", None, COMPLETED, "authorized"), Kind.MONEY_AGAINST_PAYMENT, Repair.VOID_AT_GATEWAY),
        (("CANCELLED", "VOIDED", None, COMPLETED, "captured"), Kind.MONEY_AGAINST_PAYMENT, Repair.VOID_AT_GATEWAY),
        (("APPROVED", None, None, RUNNING["APPROVED"], "authorized"), Kind.MONEY_WITHOUT_PAYMENT, None),
        ((None, None, None, TERMINATED), Kind.ORDER_LOST, Repair.RESTART),
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
