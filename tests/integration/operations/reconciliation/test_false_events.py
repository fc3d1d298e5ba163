"""Events that never happened: the tracking is healed of them, and of nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from operations.reconciliation.findings import Finding, Kind, Reconcile
from orderflow.settings import Settings
from orderflow.store import tracking
from orderflow.store.database import Database
from orderflow.store.tracking import ORDERS, PAYMENTS, Tracked, TrackedPart
from orderflow.stream.tracking import tracked
from orderflow_events.envelope import Envelope, UnknownEvent, event_id
from orderflow_events.inbox import claim
from support.auditor import Auditor
from support.world import order_id

GROUP = Settings().tracking_group


def _envelope(event: Tracked) -> Envelope:
    return Envelope(
        id=event_id(event.source, event.order_id, event.version),
        source=event.source,
        type=event.type,
        order_id=event.order_id,
        version=event.version,
        status=event.status,
        recorded_at=event.recorded_at,
        correlation_id="",
        traceparent=None,
        event=UnknownEvent.model_validate({"reason": event.reason} if event.reason else {}),
    )


async def _arrives(auditor: Auditor, *events: Tracked) -> list[int]:
    """Through the inbox, as in the tracking's process: the versions that took effect."""
    pool = await auditor.world.orders.pool()
    async with pool.acquire() as connection, connection.transaction():
        fresh, _ = await claim(connection, GROUP, [_envelope(event) for event in events])
        if fresh:
            await tracking.track(connection, [tracked(envelope) for envelope in fresh])
    return [envelope.version for envelope in fresh]


async def _true(database: Database, order: UUID, source: str) -> list[Tracked]:
    pool = await database.pool()
    rows = await pool.fetch(
        """SELECT order_id, $2::text AS source, version, type, status, data ->> 'reason' AS reason, recorded_at
           FROM events WHERE order_id = $1 ORDER BY version""",
        *(order, source),
    )
    return [Tracked(**row) for row in rows]


async def _fulfilling(auditor: Auditor) -> tuple[UUID, Any, list[Tracked], list[Tracked]]:
    handle, order = await auditor.fulfilling()
    world = auditor.world
    return order, handle, await _true(world.orders, order, ORDERS), await _true(world.payments, order, PAYMENTS)


async def _shown(auditor: Auditor, order: UUID) -> tracking.TrackedOrder | None:
    return await tracking.read(auditor.world.orders, order, timeline=True)


async def _heals(auditor: Auditor) -> Sequence[Finding]:
    """A reconciliation as the schedule has it: it repairs nothing but the tracking."""
    handled = (await auditor.reconciler().run(Reconcile(heal_tracking=True))).findings
    assert {h.outcome for h in handled} <= {"repaired"}, handled
    return [h.finding for h in handled]


@pytest.mark.parametrize("version", [1, 2, 1_000_000])
async def test_a_forged_payment_is_gone_after_one_reconciliation_and_the_genuine_ones_count(
    auditor: Auditor, version: int
) -> None:
    order, handle, orders, payments = await _fulfilling(auditor)
    forgery = replace(payments[0], version=version, type="PAYMENT_CAPTURED", status="CAPTURED")
    await _arrives(auditor, *orders)
    assert await _arrives(auditor, forgery) == [version]
    assert await _arrives(auditor, *payments) == ([] if version == 1 else [1]), "the inbox has seen that version"
    [finding] = await _heals(auditor)
    assert (finding.kind, finding.order_id) == (Kind.TRACKED_FALSELY, order)
    assert finding.evidence == {"source": PAYMENTS, "versions": [version], "said": f"CAPTURED v{version}"}
    shown = await _shown(auditor, order)
    assert shown is not None
    assert shown.payment == TrackedPart("AUTHORIZED", 1, None)
    assert [entry.status for entry in shown.timeline if entry.source == PAYMENTS] == ["AUTHORIZED"]
    assert shown.order == TrackedPart("FULFILLING", 3, None)
    # What comes now is no second occurrence to the inbox.
    assert (await auditor.world.ask(handle, "ship"))["refusal"] is None
    await handle.result()
    [_, captured] = await _true(auditor.world.payments, order, PAYMENTS)
    assert await _arrives(auditor, captured) == [2]
    shown = await _shown(auditor, order)
    assert shown is not None
    assert shown.payment == TrackedPart("CAPTURED", 2, None)
    assert await _heals(auditor) == []


async def test_an_order_that_nobody_placed_is_forgotten(auditor: Auditor) -> None:
    _, _, orders, payments = await _fulfilling(auditor)
    unknown = uuid4()
    await _arrives(auditor, *(replace(event, order_id=unknown) for event in (*orders, *payments)))
    assert len(await _heals(auditor)) == 2
    assert await _shown(auditor, unknown) is None


async def test_a_false_time_a_false_reason_and_a_hidden_past_are_found(auditor: Auditor) -> None:
    order, _, orders, payments = await _fulfilling(auditor)
    late = replace(orders[0], recorded_at=orders[2].recorded_at)
    await _arrives(auditor, late, replace(orders[1], reason="operator"), orders[2], *payments)
    [finding] = await _heals(auditor)
    assert finding.evidence["versions"] == [1, 2]
    shown = await _shown(auditor, order)
    assert shown is not None
    assert [(e.version, e.reason, e.recorded_at) for e in shown.timeline if e.source == ORDERS] == [
        (event.version, None, event.recorded_at) for event in orders
    ]


async def test_what_is_true_foreign_or_late_is_let_alone(auditor: Auditor) -> None:
    order, _, orders, _ = await _fulfilling(auditor)
    foreign = replace(orders[0], source="/orderflow/shipping", version=7, type="PARCEL_LOST", status="LOST")
    await _arrives(auditor, *orders[:2], foreign)
    before = await _shown(auditor, order)
    assert await _heals(auditor) == []
    assert await _shown(auditor, order) == before


async def test_without_being_asked_it_is_only_reported(auditor: Auditor) -> None:
    order, _, _, payments = await _fulfilling(auditor)
    await _arrives(auditor, replace(payments[0], version=3, type="PAYMENT_VOIDED", status="VOIDED"))
    [handled] = await auditor.findings()
    assert (handled.finding.kind, handled.outcome) == (Kind.TRACKED_FALSELY, "reported")
    shown = await _shown(auditor, order)
    assert shown is not None
    assert shown.payment == TrackedPart("VOIDED", 3, None)


async def test_a_repair_may_be_done_again(auditor: Auditor) -> None:
    order, handle, orders, payments = await _fulfilling(auditor)
    await _arrives(auditor, *orders, replace(payments[0], type="PAYMENT_FAILED", status="DECLINED"))
    await auditor.repaired(Kind.TRACKED_FALSELY)
    shown = await _shown(auditor, order_id(handle))
    assert shown is not None
    assert (order, shown.payment) == (shown.order_id, TrackedPart("AUTHORIZED", 1, None))
