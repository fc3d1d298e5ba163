"""The relay's lease: one holder, by the database's clock, for at most twice its length."""

from uuid import uuid4

import asyncpg
import pytest

from orderflow.domain.errors import Rejection
from orderflow.store import outbox, outbox_status, trail
from orderflow.store.database import Database
from orderflow.store.statements import Statement
from support.stack import Databases

SECONDS = 5.0
_END = Statement(
    "test.end",
    "Lets the lease end at another time.",
    "UPDATE relay_lease SET expires_at = clock_timestamp() + make_interval(secs => $seconds)",
)


async def _ends_in(database: Database, seconds: float) -> None:
    await database.all(_END, {"seconds": seconds})


async def test_one_holds_the_lease_until_its_time_is_up(orders_db: Database) -> None:
    assert await outbox.hold_lease(orders_db, "one", SECONDS)
    assert not await outbox.hold_lease(orders_db, "two", SECONDS)
    assert await outbox.hold_lease(orders_db, "one", SECONDS)
    await _ends_in(orders_db, -1)
    assert await outbox.hold_lease(orders_db, "two", SECONDS)
    assert not await outbox.hold_lease(orders_db, "one", SECONDS)


@pytest.mark.parametrize("seconds", [3 * SECONDS, 7200, 10 * 365 * 86_400])
async def test_a_lease_ends_at_most_twice_its_length_from_now_whatever_stands_there(
    orders_db: Database, seconds: float
) -> None:
    """As one does that was taken while the database's clock was ahead, by a relay that has died since."""
    assert await outbox.hold_lease(orders_db, "dead", SECONDS)
    await _ends_in(orders_db, seconds)
    assert await outbox.hold_lease(orders_db, "heir", SECONDS)
    leader = await outbox_status.leader(orders_db)
    assert leader is not None
    assert leader.holder == "heir"
    assert leader.seconds_left <= SECONDS
    assert not await outbox.hold_lease(orders_db, "dead", SECONDS)


async def test_a_lease_within_twice_its_length_is_its_holders(orders_db: Database) -> None:
    """A clock that is set by less, or a holder with another setting, costs nobody the lead."""
    assert await outbox.hold_lease(orders_db, "one", SECONDS)
    await _ends_in(orders_db, 1.8 * SECONDS)
    assert not await outbox.hold_lease(orders_db, "two", SECONDS)


async def test_nobody_leads_by_a_lease_that_ends_too_late(orders_db: Database) -> None:
    async def is_led() -> bool:
        relay = (await trail.trail(orders_db, uuid4())).relay
        return relay.led_until is not None and relay.led_until > relay.now

    assert await outbox.hold_lease(orders_db, "dead", SECONDS)
    assert await is_led()
    await _ends_in(orders_db, 7200)
    assert not await is_led()


async def test_a_relay_with_a_shorter_setting_leaves_the_lead_to_who_has_a_longer_one(orders_db: Database) -> None:
    assert await outbox.hold_lease(orders_db, "long", 10 * SECONDS)
    assert not await outbox.hold_lease(orders_db, "short", SECONDS)
    await _ends_in(orders_db, 21 * SECONDS)
    assert await outbox.hold_lease(orders_db, "short", SECONDS)


#: What no setting allows. NaN is above every number.
LENGTHS = [1e9, 1e300, float("nan"), float("inf")]


@pytest.mark.parametrize("length", LENGTHS)
async def test_a_length_that_no_setting_allows_is_refused(orders_db: Database, length: float) -> None:
    assert await outbox.hold_lease(orders_db, "one", SECONDS)
    lie = Statement("test.lie", "Makes the lease long.", "UPDATE relay_lease SET seconds = $seconds")
    with pytest.raises(Rejection):
        await orders_db.all(lie, {"seconds": length})


@pytest.mark.parametrize("length", LENGTHS)
async def test_a_length_that_no_setting_allows_is_not_believed(
    databases: Databases, orders_db: Database, length: float
) -> None:
    assert await outbox.hold_lease(orders_db, "liar", SECONDS)
    admin = await asyncpg.connect(databases.as_admin("orders"))
    try:
        await admin.execute("ALTER TABLE relay_lease DROP CONSTRAINT relay_lease_is_short")
        await admin.execute(
            "UPDATE relay_lease SET seconds = $1, expires_at = clock_timestamp() + interval '20 years'", length
        )
    finally:
        await admin.close()
    assert await outbox.hold_lease(orders_db, "heir", SECONDS)
    assert not await outbox.hold_lease(orders_db, "liar", SECONDS)
