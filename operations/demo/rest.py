"""When a stack is at rest: nothing waits to be told, published or tracked; each order's parts are what it needs."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from operations.demo.evidence import HANDOVERS, ROWS, WAITING, databases
from orderflow.settings import Service, Settings
from orderflow.store.database import Database
from orderflow.store.statements import Statement

LOOK_EVERY_SECONDS: Final = 0.2
NO_ROW: Final = None

_NOTHING: Final = (frozenset({NO_ROW}), frozenset({NO_ROW}))
_TAKEN: Final = (frozenset({"CAPTURED"}), frozenset({"COMMITTED"}))
#: An order's status, and whether it was ever APPROVED, to what its payment and its reservation may be then.
#: APPROVED is not here: its steps are under way.
PARTS: Final[Mapping[tuple[str, bool], tuple[frozenset[str | None], frozenset[str | None]]]] = {
    ("DRAFT", False): _NOTHING,
    ("FULFILLING", True): (frozenset({"AUTHORIZED"}), frozenset({"RESERVED"})),
    ("SHIPPED", True): _TAKEN,
    ("COMPLETED", True): _TAKEN,
    ("CANCELLED", False): _NOTHING,
    ("CANCELLED", True): (frozenset({"VOIDED", "DECLINED"}), frozenset({"RELEASED", "REJECTED"})),
}

_APPROVED = Statement(
    "rest.approved",
    "Reads the orders that were ever approved.",
    "SELECT order_id FROM events WHERE status = 'APPROVED'",
)
_PENDING = Statement(
    "rest.pending",
    "Counts the commands that are pending.",
    "SELECT count(*) AS pending FROM commands WHERE version IS NULL AND refusal IS NULL",
)
_COUNT_EVENTS = Statement("rest.count_events", "Counts the events.", "SELECT count(*) AS events FROM events")
_COUNT_TRACKED = Statement(
    "rest.count_tracked", "Counts the tracked events.", "SELECT count(*) AS tracked FROM tracked_events"
)


def parts_fit(order: str, approved: bool, payment: str | None, reservation: str | None) -> bool:
    """Whether an order at rest may have these parts (None: no row)."""
    payments, reservations = PARTS.get((order, approved), (frozenset(), frozenset()))
    return payment in payments and reservation in reservations


async def settled(settings: Settings, seconds: float) -> str | None:
    """Wait until nothing moves any more; None then. After ``seconds``: what still moves. Raises Unavailable."""
    deadline = time.monotonic() + seconds
    async with databases(settings) as opened:
        while (moving := await _moving(opened)) is not None:
            if time.monotonic() > deadline:
                return moving
            await asyncio.sleep(LOOK_EVERY_SECONDS)
    return None


async def _moving(opened: Mapping[Service, Database]) -> str | None:
    rows = {
        name: {row["order_id"]: row["status"] for row in await database.all(ROWS[name], {})}
        for name, database in opened.items()
    }
    approved = {row["order_id"] for row in await opened["orders"].all(_APPROVED, {})}
    unrest = sum(
        not parts_fit(status, order_id in approved, rows["payments"].get(order_id), rows["inventory"].get(order_id))
        for order_id, status in rows["orders"].items()
    )
    if unrest:
        return f"{unrest} orders wait for their payment or reservation"
    if pending := (await opened["orders"].all(_PENDING, {}))[0]["pending"]:
        return f"{pending} ships are under way"
    if handovers := await opened["orders"].all(HANDOVERS, {}):
        return f"Temporal has not been told of {len(handovers)} orders"
    events = 0
    for name, database in opened.items():
        if waiting := (await database.all(WAITING, {}))[0]["waiting"]:
            return f"{waiting} events wait in the outbox of {name}"
        events += (await database.all(_COUNT_EVENTS, {}))[0]["events"]
    tracked = (await opened["orders"].all(_COUNT_TRACKED, {}))[0]["tracked"]
    return f"the tracking has {tracked} of {events} events" if tracked < events else None
