"""The demo's check: it holds when everything agrees, and whatever is corrupted, it says so."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from operations.demo.check import agrees, check
from operations.demo.evidence import Evidence
from support.evidence import COMPLETED, DECLINED, TOTAL, WAITING, sound_evidence


def failing(evidence: Evidence) -> set[str]:
    return {line.what for line in check(evidence) if not line.ok}


def test_everything_agrees_in_a_sound_shop() -> None:
    lines = check(sound_evidence())
    assert [(line.what, line.wrong) for line in lines if not line.ok] == []
    assert agrees(lines)


def test_a_record_that_stands_twice_is_no_fault() -> None:
    evidence = sound_evidence()
    again = evidence.stream[2]
    evidence.stream.append(replace(again, offset=len(evidence.stream)))
    lines = check(evidence)
    assert agrees(lines)
    assert any("1 repeated" in line.said for line in lines)


def test_events_of_different_services_may_stand_in_any_order() -> None:
    evidence = sound_evidence()
    evidence.stream.sort(key=lambda seen: seen.envelope.source if seen.envelope else "")
    moved = {
        (seen.envelope.source.rpartition("/")[2], seen.envelope.order_id, seen.envelope.version): (0, number)
        for number, seen in enumerate(evidence.stream)
        if seen.envelope
    }
    evidence.publications = moved
    evidence.stream = [replace(seen, offset=number) for number, seen in enumerate(evidence.stream)]
    assert failing(evidence) == set()


def change(evidence: Evidence, service: str, order: UUID, **columns: object) -> None:
    evidence.rows[service][order] = {**evidence.rows[service][order], **columns}


def lose_a_record(evidence: Evidence) -> None:
    evidence.stream = [s for s in evidence.stream if not (s.envelope and s.envelope.id == f"orders/{WAITING}/3")]


def lose_a_record_in_the_middle(evidence: Evidence) -> None:
    evidence.stream = [s for s in evidence.stream if not (s.envelope and s.envelope.id == f"orders/{COMPLETED}/3")]


def swap_two_records(evidence: Evidence) -> None:
    first, second = evidence.stream[:2]
    evidence.stream[:2] = [replace(second, offset=0), replace(first, offset=1)]


def change_a_record(evidence: Evidence) -> None:
    seen = evidence.stream[0]
    assert seen.envelope
    event = seen.envelope.event.model_copy(update={"total": TOTAL + 1})
    evidence.stream[0] = replace(seen, envelope=replace(seen.envelope, event=event))


def move_a_record_to_another_partition(evidence: Evidence) -> None:
    evidence.stream[-1] = replace(evidence.stream[-1], partition=5)


def add_a_record_of_nobody(evidence: Evidence) -> None:
    seen = evidence.stream[0]
    assert seen.envelope
    evidence.stream.append(replace(seen, offset=99, envelope=replace(seen.envelope, version=9)))


def add_a_record_that_is_no_event(evidence: Evidence) -> None:
    evidence.stream.append(replace(evidence.stream[0], offset=99, envelope=None, error="ce_id is missing"))


def leave_an_event_in_the_outbox(evidence: Evidence) -> None:
    evidence.waiting["payments"] = 1


def park_an_order(evidence: Evidence) -> None:
    evidence.parked["orders"] = 1


def lose_a_publication(evidence: Evidence) -> None:
    del evidence.publications["orders", WAITING, 1]


def lose_an_event(evidence: Evidence) -> None:
    del evidence.events["inventory", WAITING, 1]


def change_a_rows_status(evidence: Evidence) -> None:
    change(evidence, "orders", COMPLETED, status="SHIPPED")


def change_a_rows_reason(evidence: Evidence) -> None:
    change(evidence, "orders", DECLINED, reason="out_of_stock")


def change_a_total(evidence: Evidence) -> None:
    change(evidence, "orders", COMPLETED, total=TOTAL + 1)


def lose_a_row(evidence: Evidence) -> None:
    del evidence.rows["orders"][DECLINED]


def lose_a_reservation(evidence: Evidence) -> None:
    del evidence.rows["inventory"][WAITING]


def jump_a_status(evidence: Evidence) -> None:
    """As if an order had been shipped without ever being FULFILLING."""
    for number, seen in enumerate(evidence.stream):
        if seen.envelope and seen.envelope.id == f"orders/{COMPLETED}/3":
            evidence.stream[number] = replace(seen, envelope=replace(seen.envelope, status="SHIPPED"))


def capture_too_much(evidence: Evidence) -> None:
    ledger(evidence, COMPLETED)["captured_amount"] = 2 * TOTAL


def capture_nothing(evidence: Evidence) -> None:
    ledger(evidence, COMPLETED)["captured_amount"] = 0


def capture_of_a_cancelled_order(evidence: Evidence) -> None:
    ledger(evidence, DECLINED)["captured_amount"] = TOTAL


def refund_a_completed_order(evidence: Evidence) -> None:
    ledger(evidence, COMPLETED)["refunded_amount"] = TOTAL


def leave_a_hold_on_a_cancelled_order(evidence: Evidence) -> None:
    ledger(evidence, DECLINED)["authorized_count"] = 1


def hold_twice(evidence: Evidence) -> None:
    ledger(evidence, WAITING)["authorized_count"] = 2


def try_to_charge_twice(evidence: Evidence) -> None:
    ledger(evidence, COMPLETED)["duplicate_attempts"] = 1


def lose_the_ledgers_entry(evidence: Evidence) -> None:
    del evidence.ledger[str(WAITING)]


def let_the_gateway_know_a_stranger(evidence: Evidence) -> None:
    evidence.ledger["stranger"] = dict(ledger(evidence, DECLINED))


def let_the_gateway_say_otherwise(evidence: Evidence) -> None:
    ledger(evidence, DECLINED)["status"] = "authorized"


def change_stock(evidence: Evidence) -> None:
    evidence.stock["bread"] = {**evidence.stock["bread"], "on_hand": 9}


def forget_that_stock_left(evidence: Evidence) -> None:
    del evidence.taken[COMPLETED, "bread"]


def let_a_released_order_take_stock(evidence: Evidence) -> None:
    evidence.taken[DECLINED, "bread"] = -2


def reserve_for_nobody(evidence: Evidence) -> None:
    evidence.stock["bread"] = {**evidence.stock["bread"], "reserved": 3}


def leave_a_reservation_of_a_cancelled_order(evidence: Evidence) -> None:
    change(evidence, "inventory", DECLINED, status="RESERVED")
    evidence.held[DECLINED, "bread"] = (2, "RESERVED")


def track_another_status(evidence: Evidence) -> None:
    evidence.tracked[WAITING] = {**evidence.tracked[WAITING], "order_status": "APPROVED"}


def track_too_little(evidence: Evidence) -> None:
    evidence.tracked_events.discard(("payments", COMPLETED, 2))


def track_nothing(evidence: Evidence) -> None:
    del evidence.tracked[WAITING]


def leave_a_handover(evidence: Evidence) -> None:
    evidence.handovers[WAITING] = "approve"


def ledger(evidence: Evidence, order: Any) -> dict[str, Any]:
    entry = evidence.ledger[str(order)]
    assert isinstance(entry, dict)
    return entry


@pytest.mark.parametrize(
    ("corrupt", "seen_by"),
    [
        (lose_a_record, "stream = events"),
        (lose_a_record_in_the_middle, "stream in order"),
        (swap_two_records, "stream in order"),
        (change_a_record, "stream = events"),
        (move_a_record_to_another_partition, "stream in order"),
        (add_a_record_of_nobody, "stream = events"),
        (add_a_record_that_is_no_event, "stream = events"),
        (leave_an_event_in_the_outbox, "outbox"),
        (park_an_order, "outbox"),
        (lose_a_publication, "outbox"),
        (leave_a_handover, "handovers"),
        (lose_an_event, "stream = events"),
        (change_a_rows_status, "fold of the stream = rows"),
        (change_a_rows_reason, "fold of the stream = rows"),
        (change_a_total, "amounts"),
        (lose_a_row, "fold of the stream = rows"),
        (lose_a_reservation, "orders and their parts"),
        (jump_a_status, "fold of the stream = rows"),
        (capture_too_much, "ledger: captured"),
        (capture_nothing, "ledger: captured"),
        (capture_of_a_cancelled_order, "ledger: captured"),
        (refund_a_completed_order, "ledger: captured"),
        (leave_a_hold_on_a_cancelled_order, "ledger: holds"),
        (hold_twice, "ledger: holds"),
        (try_to_charge_twice, "ledger: holds"),
        (lose_the_ledgers_entry, "ledger = payments"),
        (let_the_gateway_know_a_stranger, "ledger = payments"),
        (let_the_gateway_say_otherwise, "ledger = payments"),
        (change_stock, "stock: on hand"),
        (forget_that_stock_left, "stock: on hand"),
        (let_a_released_order_take_stock, "stock: on hand"),
        (reserve_for_nobody, "stock: reserved"),
        (leave_a_reservation_of_a_cancelled_order, "orders and their parts"),
        (track_another_status, "tracking = rows"),
        (track_too_little, "tracking = rows"),
        (track_nothing, "tracking = rows"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_is_corrupted_is_seen(corrupt: Callable[[Evidence], None], seen_by: str) -> None:
    evidence = sound_evidence()
    corrupt(evidence)
    assert seen_by in failing(evidence)
    assert not agrees(check(evidence))
